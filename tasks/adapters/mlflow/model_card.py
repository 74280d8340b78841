"""The model card: what a registered version is, what it scores, and how to fetch it."""

from cl_core.modalities._model_input import ModelInput
from cl_core.refs import Score
from cl_core.report.markdown import render_markdown
from cl_core.report.summary import fetch_lines
from cl_core.report.wording import counts, is_share
from tasks.adapters.mlflow.model_version import Registration

# MLflow's own limit of a description, and of a tag on older servers.
_PAGE_CHARACTERS = 5000
_LEADING_SCORES = 3
_CUT = "\n\nThe rest is in `model_card.md` among the artifacts of the run.\n"
_SETTINGS = ("method", "loss", "views", "encoder", "epochs", "batch_size", "optimizer", "learning_rate", "seed")


def page_card(registration: Registration) -> str:
    """Return what MLflow shows as the description: one paragraph, which lists of versions begin with, then the card."""
    card = f"{short_card(registration)}\n\n{model_card(registration)}"
    if len(card) <= _PAGE_CHARACTERS:
        return card
    return card[: card.rindex("\n", 0, _PAGE_CHARACTERS - len(_CUT))] + _CUT


def short_card(registration: Registration) -> str:
    """Return one paragraph, with the leading scores."""
    scores = registration.evaluation.trained.scores
    leading = [name for name in scores if is_share(name)] or list(scores)
    measured = "; ".join(f"{name} {_interval(scores[name])}" for name in leading[:_LEADING_SCORES])
    # Not escaped, since lists show it as plain text; the names in it are identifiers.
    return (
        f"Encoder of {_units(registration)} trained by contrastive learning on {registration.snapshot.name} "
        f"({registration.snapshot.digest[:8]}, {_samples(registration)}) for {registration.checkpoint.step:,} steps. "
        f"{measured}. Takes {_takes(registration)}."
    )


def model_card(registration: Registration) -> str:
    """Return the whole card, in Markdown."""
    training = registration.specs["training"].model_dump(mode="json") if "training" in registration.specs else {}
    columns = registration.evaluation.representations
    return render_markdown(
        "model_card.md.j2",
        package="tasks.adapters.mlflow",
        registration=registration,
        samples=_samples(registration),
        takes=_takes(registration),
        units=_units(registration),
        fetch=fetch_lines(f"models:/{registration.name}@champion", registration.snapshot.modality),
        settings={name: training[name] for name in _SETTINGS if name in training},
        scores=[
            {"Score": name}
            | {
                column.replace("_", " "): _interval(report.scores[name]) if name in report.scores else "not measured"
                for column, report in columns.items()
            }
            for name in sorted({name for report in columns.values() for name in report.scores})
        ],
    )


def _units(registration: Registration) -> str:
    """Return what it takes, such as: images and texts."""
    takes = registration.takes
    return " and ".join(f"{of.kind.unit}s" for of in (takes, takes.second) if of)


def _interval(score: Score) -> str:
    return f"{score.value:.4g} [{score.low:.4g}, {score.high:.4g}]"


def _samples(registration: Registration) -> str:
    return counts(dict(sorted(registration.snapshot.rows.items())))


def _takes(registration: Registration) -> str:
    takes = registration.takes
    one = "row" if takes.second else takes.kind.unit
    both = ", or ".join(_described(of) for of in (takes, takes.second) if of)
    return f"{both}, for any N, and returns float32 embeddings of unit length, one row per {one}"


def _described(takes: ModelInput) -> str:
    """Return the arrays that a program takes."""
    modality, arrays = takes.kind, takes.arrays
    columns = " and ".join(
        f"{dtype} {column.name}s (N, {', '.join(map(str, shape))})"
        for column, (dtype, shape) in zip(modality.columns, arrays, strict=True)
    )
    return f"{columns}, {modality.describe(arrays)}"
