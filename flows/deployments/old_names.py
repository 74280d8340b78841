"""Names of flows that the release before used; accepted for one release, and deleted with the next."""

import inspect
from typing import Any

from prefect import Flow
from prefect.logging import get_run_logger

from flows.evaluate_model import evaluate_model
from tasks.runtime.hooks import FLOW

RENAMED_FLOWS = {
    "flows.ingest.ingest": "flows.stages.ingest",
    "flows.validate.validate": "flows.stages.validate",
    "flows.pretrain.pretrain": "flows.stages.pretrain",
    "flows.evaluate.evaluate": "flows.stages.evaluate",
    "flows.register.register": "flows.stages.register",
    "flows.report.report": "flows.stages.report",
    "flows.measure.measure": "flows.deployments.old_names.measure",
    "flows.promote.promote": "flows.champion.promote",
    "flows.promote.rollback": "flows.champion.rollback",
}
"""Old entrypoint -> entrypoint that runs instead."""

ENTRYPOINTS_0_1 = frozenset(
    {
        *RENAMED_FLOWS,
        "flows.retrain.retrain",
        "flows.embed.embed",
        "flows.prune.prune",
        "flows.compare.compare",
    }
)
"""Entrypoints of 0.1.0, whose deployments carry no mark of `cl up`."""


def _measure(*args: Any, **kwargs: Any) -> Any:
    get_run_logger().warning(
        "the flow `measure` is renamed to `evaluate-model`; start a deployment of `evaluate-model` instead, since the "
        "old name goes with the next release"
    )
    return evaluate_model.fn(*args, **kwargs)


# Prefect names the entrypoint after the function, and makes the form from its signature.
_measure.__name__ = _measure.__qualname__ = "measure"
_measure.__doc__ = evaluate_model.__doc__
_measure.__signature__ = inspect.signature(evaluate_model.fn)  # type: ignore[attr-defined]

measure: Flow[..., Any] = Flow(_measure, name="measure", **FLOW)
