"""A process that has imported what takes seconds, and runs retrainings in processes forked from it.

Takes a JSON object a line. {"start": {environment}, "parameters": {}, "run": path} answers with the process that works
on a flow run; the file at the path names it, so that the same one is put back to work; without the file, a new one is
made. {"start": {environment}, "doctor": whether it mends} answers with the process, too, and {"wait": process} with its
exit code. Started with PREFECT_API_URL set.
"""

import contextlib
import json
import os
import sys
import traceback
from pathlib import Path
from uuid import UUID


def serve() -> None:
    from tasks.settings import Settings, embed_prefect

    embed_prefect(Settings.from_environment())
    import torch

    torch.set_num_threads(1)
    sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))
    import warm  # noqa: F401 - imports and exercises what takes seconds, and opens no database

    from flows.retrain import retrain

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                run(retrain, order)
        print(json.dumps(answer), file=answers, flush=True)


def run(retrain, order) -> None:
    code = 1
    try:
        os.setsid()
        log = os.open(Path(order["start"]["CL_HOME"]).with_suffix(".log"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order["start"])
        if "doctor" in order:
            from flows.doctor_commands import doctor

            doctor(mend=order["doctor"])
        elif order["parameters"]:
            work_on(retrain, order["parameters"], Path(order["run"]))
        else:
            from tasks.model_store import model_store

            assert model_store().names() == []
        code = 0
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def work_on(retrain, parameters, place: Path) -> None:
    """As a Prefect worker's process does with a deployed run that is new, or has crashed and is scheduled again."""
    from prefect import get_client
    from prefect.flow_engine import run_flow
    from prefect.states import Pending, Scheduled

    with get_client(sync_client=True) as client:
        if place.exists():
            flow_run = client.read_flow_run(UUID(place.read_text()))
            client.set_flow_run_state(flow_run.id, Scheduled(name="AwaitingRetry"), force=True)
            flow_run = client.read_flow_run(flow_run.id)
        else:
            flow_run = client.create_flow_run(retrain, parameters=parameters, state=Pending())
            place.write_text(str(flow_run.id))
    run_flow(retrain, flow_run=flow_run, parameters=parameters)


if __name__ == "__main__":
    serve()
