"""Where a person looks at a version in MLflow: pages of a server, or what to type where there is only a database."""

from pathlib import Path
from urllib.parse import quote

from cl_core.refs import ModelRef
from tasks.adapters.mlflow.connection import connected, redacted_uri


def version_links(tracking_uri: str, model: ModelRef, report: Path) -> dict[str, str]:
    """Places by what stands there, fit for a message: no user name, no password.

    Args:
        tracking_uri: Of the store.
        model: A registered version.
        report: Its report; an artifact of the same name is beside the artifacts of its run.
    """
    if not tracking_uri.startswith(("http://", "https://")):
        return {
            "MLflow run": model.run_id,
            "Model version": model.uri,
            "Report": str(report),
            "MLflow's database": redacted_uri(tracking_uri),
            "To look at it": f"mlflow ui --backend-store-uri {redacted_uri(tracking_uri)}",
        }
    with connected(tracking_uri) as client:
        experiment = client.get_run(model.run_id).info.experiment_id
    server = redacted_uri(tracking_uri).rstrip("/")
    run = f"{server}/#/experiments/{experiment}/runs/{model.run_id}"
    return {
        "MLflow run": run,
        "Model version": f"{server}/#/models/{quote(model.name, safe='')}/versions/{model.version}",
        "Report": f"{run}/artifacts/{quote(report.name)}",
        "Report on this machine": str(report),
    }
