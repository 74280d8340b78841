"""The model card: what a registered version is, its scores, and how to fetch it."""

from cl_core.refs import RepresentationReport, Score
from cl_core.report.wording import is_share
from tasks.adapters.mlflow.model_version import Registration

# MLflow's own limit of a description, and of a tag on older servers.
_PAGE_CHARACTERS = 5000
_LEADING_SCORES = 3
_CUT = "\n\nThe rest is in `model_card.md` among the artifacts of the run.\n"


def page_card(registration: Registration) -> str:
    """Return the description in MLflow: one paragraph, which lists of versions show, then the card."""
    card = f"{short_card(registration)}\n\n{model_card(registration)}"
    if len(card) <= _PAGE_CHARACTERS:
        return card
    return card[: card.rindex("\n", 0, _PAGE_CHARACTERS - len(_CUT))] + _CUT


def short_card(registration: Registration) -> str:
    """Return one paragraph with the leading scores."""
    snapshot, checkpoint, scores = (
        registration.snapshot,
        registration.checkpoint,
        registration.evaluation.trained.scores,
    )
    leading = [name for name in scores if is_share(name)] or list(scores)
    measured = "; ".join(f"{name} {_interval(scores[name])}" for name in leading[:_LEADING_SCORES])
    return (
        f"Image encoder trained by contrastive learning on {snapshot.name} ({snapshot.digest[:8]}, "
        f"{_rows(snapshot.rows)}) for {checkpoint.step:,} steps. {measured}. Takes {_shape(registration)}."
    )


def model_card(registration: Registration) -> str:
    """Return the whole card, in Markdown."""
    snapshot, checkpoint = registration.snapshot, registration.checkpoint
    labels = f"{len(snapshot.classes)} classes" if snapshot.classes else "no labels"
    return f"""\
# {registration.name}

An image encoder trained by contrastive learning: it turns images into embeddings. The cosine similarity of two
embeddings measures how alike the images are.

## Fetch it

Set `MLFLOW_TRACKING_URI` to the server of this page; only mlflow, torch and numpy are needed.

```python
import mlflow

model = mlflow.pyfunc.load_model("models:/{registration.name}@champion")
embeddings = model.predict(images)
```

It takes {_shape(registration)}.

## Data

| | |
|---|---|
| Dataset | {snapshot.name} |
| Snapshot | `{snapshot.digest}` |
| Distinct samples | {_rows(snapshot.rows)} |
| Labels | {labels}; used for evaluation{"" if snapshot.classes else ": none"} |
| Rejected inputs | {snapshot.quarantined:,} |

## Training

| | |
|---|---|
{_settings(registration)}
| Steps | {checkpoint.step:,} |
| Time | {checkpoint.seconds:,.0f} s |
| Training digest | `{checkpoint.digest}` |

The complete specs are in `spec.json`.

## Scores

On the test split, with 95 % bootstrap intervals. The baselines show the effect of the training: the same encoder
before training, and the raw input without an encoder.

{_table(registration)}
{_left_out(registration)}
## Lineage

| | |
|---|---|
{_lineage(registration)}

## Limits

- The scores hold for data like the test split of this snapshot; evaluate on your own data before you rely on them.
- Images must be {_size(registration)} pixels; resize and crop them like the training data.
- The embedding keeps what the augmentations leave unchanged. What they destroy, such as exact color or position, may
  not be in the embedding.
- Groups that are over- or under-represented in the data are so in the embedding; fairness was not evaluated.
"""


def _table(registration: Registration) -> str:
    columns = registration.evaluation.representations
    names = sorted({name for column in columns.values() for name in column.scores})
    head = f"| Score | {' | '.join(column.replace('_', ' ') for column in columns)} |\n|---{'|---' * len(columns)}|\n"
    return head + "".join(
        f"| {name} | {' | '.join(_cell(column, name) for column in columns.values())} |\n" for name in names
    )


def _cell(column: RepresentationReport, name: str) -> str:
    return _interval(column.scores[name]) if name in column.scores else "not measured"


def _interval(score: Score) -> str:
    return f"{score.value:.4g} [{score.low:.4g}, {score.high:.4g}]"


def _left_out(registration: Registration) -> str:
    return "".join(f"\nLeft out: {reason}\n" for reason in registration.evaluation.left_out)


def _settings(registration: Registration) -> str:
    training = registration.specs["training"].model_dump(mode="json") if "training" in registration.specs else {}
    shown = ("method", "loss", "views", "encoder", "epochs", "batch_size", "optimizer", "learning_rate", "seed")
    return "\n".join(
        f"| {name.replace('_', ' ').capitalize()} | {training[name]} |" for name in shown if name in training
    )


def _lineage(registration: Registration) -> str:
    lineage = registration.lineage
    code = f"counterpoint {lineage.code_version}, source `{lineage.source_digest[:12]}`" if lineage.code_version else ""
    run = f"[{lineage.flow_run_id}]({lineage.flow_run_url})" if lineage.flow_run_url else f"`{lineage.flow_run_id}`"
    recipe = f"{lineage.recipe}; " if lineage.recipe else ""
    rows = {
        "Data": f"{registration.snapshot.name}, snapshot `{registration.snapshot.digest}`",
        "Code": code or "not recorded",
        "Recipe": f"{recipe}the complete specs are in `spec.json`",
        "Training": f"`{registration.checkpoint.digest}`",
        "Evaluation": f"`{registration.evaluation.digest}`",
        "Prefect flow run": run if lineage.flow_run_id else "none: registered outside a flow",
    }
    return "\n".join(f"| {name} | {value} |" for name, value in rows.items())


def _rows(rows: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in sorted(rows.items()))


def _shape(registration: Registration) -> str:
    model = registration.model
    return (
        f"uint8 images (N, {model.size}, {model.size}, {model.channels}) with values 0 to 255, for any N, "
        "and returns float32 embeddings of unit length, one row per image"
    )


def _size(registration: Registration) -> str:
    return f"{registration.model.size} x {registration.model.size}"
