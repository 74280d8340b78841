"""The first steps alone, for the numbers: whether a source's samples can be trained on, and what there is to know."""

from prefect import flow

from cl_core.data.validation import ValidationReport
from cl_core.specs import ComputeSpec, DataSpec
from flows.parameters import Force
from tasks.ingestion import ingest
from tasks.ingestion import validate as check
from tasks.runtime.hooks import FLOW


@flow(name="validate", **FLOW)
def validate(
    data: DataSpec = DataSpec(), compute: ComputeSpec = ComputeSpec(), force: Force = False
) -> ValidationReport:
    """Refuse data that cannot be trained on, and say what is known of data that can."""
    snapshot = ingest(data, compute, force=force)
    return check(snapshot, data, compute)
