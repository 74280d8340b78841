"""A registered version, measured anew on the data of anyone's choice; nothing is trained or registered."""

from prefect import flow

from cl_core.refs import EvaluationReport
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec
from flows.parameters import ModelName, VersionOrChampion
from tasks.ingestion import ingest, validate
from tasks.measurement import find_measurable
from tasks.measurement import measure as measure_version
from tasks.runtime.hooks import FLOW


@flow(name="measure", **FLOW)
def measure(
    model_name: ModelName = "fashion-mnist",
    version: VersionOrChampion = 0,
    data: DataSpec = DataSpec(),
    evaluation: EvaluationSpec = EvaluationSpec(),
    compute: ComputeSpec = ComputeSpec(),
) -> EvaluationReport:
    """Measure a registered version beside raw pixels, on the snapshot of a source."""
    model = find_measurable(model_name, version, data)
    snapshot = ingest(data, compute, force=False)
    validate(snapshot, data, compute)
    return measure_version(model, snapshot, data, evaluation, compute)
