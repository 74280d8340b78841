"""The first steps alone: bring samples into a snapshot and check that it can be trained on."""

from prefect import flow

from cl_core.refs import SnapshotRef
from cl_core.specs import ComputeSpec, DataSpec
from flows.parameters import Force
from tasks.ingestion import ingest as ingest_samples
from tasks.ingestion import validate
from tasks.runtime.hooks import FLOW


@flow(name="ingest", **FLOW)
def ingest(data: DataSpec = DataSpec(), compute: ComputeSpec = ComputeSpec(), force: Force = False) -> SnapshotRef:
    """Bring a source's samples into a validated snapshot."""
    snapshot = ingest_samples(data, compute, force=force)
    validate(snapshot, data, compute)
    return snapshot
