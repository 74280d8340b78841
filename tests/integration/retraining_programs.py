"""What the processes do that are forked for the tests of faults."""

import os
import signal
import sys
from pathlib import Path
from typing import Any
from uuid import UUID


def work_on(parameters: dict[str, Any], place: Path) -> None:
    """As a Prefect worker's process does with a deployed run that is new, or has crashed and is scheduled again.

    Args:
        parameters: Of the flow.
        place: File that names the flow run, so that the same one runs again; without it, a new one is made.
    """
    from prefect import get_client
    from prefect.flow_engine import run_flow
    from prefect.states import Pending, Scheduled

    from flows.retrain import retrain

    with get_client(sync_client=True) as client:
        if place.exists():
            flow_run = client.read_flow_run(UUID(place.read_text()))
            client.set_flow_run_state(flow_run.id, Scheduled(name="AwaitingRetry"), force=True)
            flow_run = client.read_flow_run(flow_run.id)
        else:
            flow_run = client.create_flow_run(retrain, parameters=parameters, state=Pending())
            place.write_text(str(flow_run.id))
    run_flow(retrain, flow_run=flow_run, parameters=parameters)


def doctor(fix: bool) -> None:
    """`cl doctor`."""
    from flows.cli.operations import doctor
    from flows.cli.render import render

    sys.exit(render(doctor(fix=fix), seconds=0))


def embed_and_die(arguments: tuple[str, ...], parts: int) -> None:
    """`cl embed`, killed as soon as so many parts are written."""
    from cl_core.embedding import writer
    from flows.cli.app import main

    publish, published = writer.publish, 0

    def publish_and_die(*given: Any) -> None:
        nonlocal published
        publish(*given)
        published += 1
        if published == parts:
            os.kill(os.getpid(), signal.SIGKILL)

    writer.publish = publish_and_die  # type: ignore[assignment]
    sys.argv = ["cl", *arguments]
    main()


def be_a_stranger(program: str, folder: Path, arguments: tuple[str, ...]) -> None:
    """A program of somebody who has MLflow and torch, but not this project: importing it is an error.

    Args:
        program: Its text.
        folder: That it runs in.
        arguments: Of its command line.
    """
    for name in [*sys.modules]:
        if name.split(".")[0] in ("cl_core", "flows", "tasks"):
            del sys.modules[name]
    sys.modules.update(dict.fromkeys(("cl_core", "flows", "tasks")))
    os.chdir(folder)
    sys.argv = ["-c", *arguments]
    exec(program, {"__name__": "__main__"})


def fetch_and_embed(uri: str, images: list[str], output: Path) -> None:
    """What a user of a model does: fetch it with MLflow, and embed images; they are stored as an array."""
    import mlflow.pyfunc
    import numpy as np
    from PIL import Image

    pixels = [np.asarray(Image.open(path), np.uint8) for path in images]
    batch = np.stack([one if one.ndim == 3 else one[:, :, None] for one in pixels])
    np.save(output, np.asarray(mlflow.pyfunc.load_model(uri).predict(batch)))
