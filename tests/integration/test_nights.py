"""Night after night: the folder grows, shrinks and gets bad files; each run says what it did, or why nothing.

One command, as a schedule gives it, over three nights. The fixtures are the runs, each on what the one before left.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from clothes import CLOTHES
from pictures import SAMPLE

from cl_core.refs import Decision
from cl_core.report.reasons import decision_sentence
from tasks.adapters.mlflow.connection import connected
from tasks.adapters.mlflow.model_version import SNAPSHOT_DIGEST

from .conftest import CommandLine, Finished

SCORE = "knn_200.accuracy"
FIRST_CLASSES = ("Ankle boot", "Bag", "Sandal", "Sneaker", "Trouser")
NIGHTLY = {
    "training": {
        **CLOTHES["training"],
        "method": "supcon",
        "method_options": {},
        "views_options": {"crop_area_min": 0.3},
        "epochs": 4,
        "start_from": "champion",
    },
    "evaluation": {"protocols": ["knn", "geometry"], "resamples": 200},
    "promotion": {"score": SCORE},
    "compute": {"threads": 1},
}
LONGER = ("--training.epochs", "10", "--training.start-from", "champion")


class Clothes:
    """A folder of images by split and class, from the committed sample: rank by rank, one of each class."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images: dict[str, bytes] = {}
        seen: Counter[tuple[str, str]] = Counter()
        for row in pq.read_table(SAMPLE).to_pylist():
            split, label = row["split"], row["label"].replace("/", "-")
            self.images[f"{split}/{label}/{seen[split, label]:03d}.png"] = row["image"]
            seen[split, label] += 1
        self.classes = sorted({label for _, label in seen})
        self.later_classes = [label for label in self.classes if label not in FIRST_CLASSES]

    def add(self, split: str, classes: Iterable[str], ranks: range) -> None:
        for name in self._names(split, classes, ranks):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes(self.images[name])

    def remove(self, split: str, classes: Iterable[str], ranks: range) -> None:
        for name in self._names(split, classes, ranks):
            (self.root / name).unlink()

    def _names(self, split: str, classes: Iterable[str], ranks: range) -> list[str]:
        return [f"{split}/{label}/{rank:03d}.png" for label in classes for rank in ranks]

    def retrain(self, cl: CommandLine, *options: str, **training: object) -> Finished:
        data = {"name": "clothes", "source": "image_folder", "location": str(self.root)}
        recipe = {**NIGHTLY, "model_name": "clothes", "data": data, "training": {**NIGHTLY["training"], **training}}
        return cl.run("retrain", *options, recipe=recipe)


@pytest.fixture(scope="module")
def clothes(tmp_path_factory: pytest.TempPathFactory) -> Clothes:
    return Clothes(tmp_path_factory.mktemp("source") / "clothes")


@pytest.fixture(scope="module")
def first(clothes: Clothes, shared_cl: CommandLine) -> Finished:
    """Night 1: shoes, bags and trousers, 500 to train on and 250 to test on; no champion yet."""
    clothes.add("train", FIRST_CLASSES, range(100))
    clothes.add("test", FIRST_CLASSES, range(50))
    return succeeded(clothes.retrain(shared_cl))


@pytest.fixture(scope="module")
def second(first: Finished, clothes: Clothes, shared_cl: CommandLine) -> Finished:
    """Night 2: shirts and dresses have come, 1,000 images, and 250 of the others; 75 have gone, 3 files are bad."""
    clothes.add("train", clothes.later_classes, range(150))
    clothes.add("test", clothes.later_classes, range(50))
    clothes.add("train", FIRST_CLASSES, range(100, 150))
    clothes.remove("train", FIRST_CLASSES, range(10))
    clothes.remove("test", FIRST_CLASSES, range(5))
    folder = clothes.root / "train" / "Coat"
    (folder / "empty.png").write_bytes(b"")
    (folder / "half.png").write_bytes((folder / "070.png").read_bytes()[:200])
    (folder / "page.png").write_text("<html>504 Gateway Time-out</html>")
    return succeeded(clothes.retrain(shared_cl, *LONGER))


@pytest.fixture(scope="module")
def third(second: Finished, clothes: Clothes, shared_cl: CommandLine) -> Finished:
    """Night 3: 100 training images have come, 200 have gone; and the recipe is changed for the worse."""
    clothes.add("train", clothes.classes, range(150, 160))
    clothes.remove("train", clothes.classes, range(10, 30))
    worse = {"start_from": "scratch", "learning_rate": 1e-6, "epochs": 1, "warmup_epochs": 0.1}
    return succeeded(clothes.retrain(shared_cl, **worse))


def test_on_the_first_night_there_is_no_champion_to_start_from_and_the_run_says_so(
    first: Finished, shared_cl: CommandLine
) -> None:
    assert ": 750 inputs, 750 unique" in first.err
    assert "training starts from scratch: 'clothes' had no champion" in first.err
    assert "version 1 is promoted" in gate(first)
    assert champion(shared_cl) == 1


def test_unchanged_data_end_in_seconds_as_a_success_that_says_why(
    first: Finished, clothes: Clothes, shared_cl: CommandLine
) -> None:
    before = time.monotonic()
    again = succeeded(clothes.retrain(shared_cl))
    for sentence in (
        "is up to date (source unchanged)",
        # Although there is a champion by now.
        "training starts from scratch, as when this training was first requested",
        "is up to date (data, spec and code unchanged); skipped",
        "models:/clothes/1 is up to date",
        "version 1 is the champion already",
    ):
        assert sentence in again.err
    assert seconds_in_flow(again) < 30
    assert time.monotonic() - before < 60
    assert versions(shared_cl) == {1}


def test_on_changed_data_the_second_night_reads_what_is_new_and_says_what_came_and_went(second: Finished) -> None:
    assert ": 1,928 inputs (1,253 read, 675 unchanged, 75 removed), 1,925 unique" in second.err
    assert "1450 training and 475 test samples, 10 classes, 3 quarantined" in second.err


def test_a_challenger_that_started_from_the_champion_wins_on_the_new_test_split(
    second: Finished, shared_cl: CommandLine
) -> None:
    assert "training starts from the weights of models:/clothes/1, the champion" in second.err
    assert "version 2 is promoted" in gate(second)
    assert champion(shared_cl) == 2
    decision = decided(shared_cl, 2)
    assert decision.promoted
    assert decision.gain is not None
    assert decision.gain.low > 0.05, "by far, not by luck"
    assert (decision.reason.code, decision.reason.champion) == ("better", 1)


def test_both_were_measured_on_the_same_new_test_split(second: Finished, shared_cl: CommandLine) -> None:
    old, new = snapshot_of(shared_cl, 1), snapshot_of(shared_cl, 2)
    assert old != new
    ids = ids_of_test(shared_cl, new)
    assert len(ids) == 475
    assert len(ids & ids_of_test(shared_cl, old)) == 225
    trained = scores_of(shared_cl, 2)[SCORE]
    measured = accuracies_on(shared_cl, ids)
    assert len(measured) == 4, "the challenger, the champion, the untrained encoder and raw pixels"
    gain = decided(shared_cl, 2).gain
    assert gain is not None
    assert any(one == pytest.approx(trained) for one in measured)
    assert any(trained - one == pytest.approx(gain.value) for one in measured)
    # It is not what the champion scored when it was registered.
    assert trained - scores_of(shared_cl, 1)[SCORE] != pytest.approx(gain.value)


def test_a_challenger_that_became_the_champion_is_still_up_to_date_on_unchanged_data(
    second: Finished, clothes: Clothes, shared_cl: CommandLine
) -> None:
    again = succeeded(clothes.retrain(shared_cl, *LONGER))
    for sentence in (
        "is up to date (source unchanged)",
        "from the weights of models:/clothes/1, the champion, as when this training was first requested",
        "is up to date (data, spec and code unchanged); skipped",
        "models:/clothes/2 is up to date",
        "version 2 is the champion already",
    ):
        assert sentence in again.err
    assert versions(shared_cl) == {1, 2}


@pytest.mark.sweep
def test_on_the_third_night_a_challenger_that_loses_is_not_promoted_and_says_why(
    third: Finished, shared_cl: CommandLine
) -> None:
    assert "(100 read, 1,728 unchanged, 200 removed)" in third.err
    assert "version 3 is not promoted" in gate(third)
    decision = decided(shared_cl, 3)
    assert (decision.promoted, decision.champion) == (False, 2)
    assert decision_sentence(decision) in gate(third)
    assert decision.reason.score == SCORE
    assert snapshot_of(shared_cl, 3) not in (snapshot_of(shared_cl, 1), snapshot_of(shared_cl, 2))
    assert champion(shared_cl) == 2


@pytest.mark.sweep
def test_a_challenger_that_collapses_is_refused_and_the_champion_stays(
    third: Finished, clothes: Clothes, shared_cl: CommandLine
) -> None:
    # The hardest triplets from the first step on.
    hardest = {"method": "facenet", "method_options": {"samples_per_class": 10}, "loss_options": {"mining": "hard"}}
    collapsed = clothes.retrain(shared_cl, **hardest, epochs=8)
    assert collapsed.code == 1
    assert "training starts from the weights of models:/clothes/2, the champion" in collapsed.err
    assert "stopped after step " in collapsed.error
    assert "all embeddings are nearly equal" in collapsed.error
    assert "This training registers no model" in collapsed.error
    assert "Traceback" not in collapsed.err
    assert champion(shared_cl) == 2
    assert versions(shared_cl) == {1, 2, 3}


def test_without_a_models_name_there_is_no_champion_to_start_from(cl: CommandLine) -> None:
    for command in ("pretrain", "evaluate"):
        data = ("--data.name", "parts", "--data.source", "synthetic")
        refused = cl.run(command, *data, "--training.start-from", "champion")
        assert refused.code == 2
        assert refused.error.startswith(
            "error: training.start_from: 'champion' is looked up under a registered model's"
        )
    assert not (cl.home / "datasets").exists()


def succeeded(finished: Finished) -> Finished:
    assert finished.code == 0, finished.err
    return finished


def gate(finished: Finished) -> str:
    """What the command printed of the gate's reason."""
    return re.sub(r"\s+", " ", finished.out.partition("Gate ")[2].partition("Report ")[0]).strip()


def seconds_in_flow(finished: Finished) -> int:
    took = re.search(r"Took +(\d+) s in the flow", finished.out)
    assert took is not None
    return int(took.group(1))


def champion(cl: CommandLine) -> int:
    with connected(f"sqlite:///{cl.home}/mlflow.db") as client:
        return int(client.get_model_version_by_alias("clothes", "champion").version)


def versions(cl: CommandLine) -> set[int]:
    with connected(f"sqlite:///{cl.home}/mlflow.db") as client:
        return {int(version.version) for version in client.search_model_versions("name = 'clothes'")}


def snapshot_of(cl: CommandLine, version: int) -> str:
    with connected(f"sqlite:///{cl.home}/mlflow.db") as client:
        return client.get_model_version("clothes", str(version)).tags[SNAPSHOT_DIGEST]


def scores_of(cl: CommandLine, version: int) -> dict[str, float]:
    with connected(f"sqlite:///{cl.home}/mlflow.db") as client:
        run = client.get_run(client.get_model_version("clothes", str(version)).run_id)
        return dict(run.data.metrics)


def decided(cl: CommandLine, version: int) -> Decision:
    """The decision as MLflow keeps it with the version's run."""
    with connected(f"sqlite:///{cl.home}/mlflow.db") as client:
        run_id = client.get_model_version("clothes", str(version)).run_id
        return Decision.model_validate(json.loads(Path(client.download_artifacts(run_id, "decision.json")).read_text()))


def ids_of_test(cl: CommandLine, snapshot: str) -> set[bytes]:
    return set(pq.read_table(cl.home / "datasets" / "clothes" / snapshot / "test")["id"].to_pylist())


def accuracies_on(cl: CommandLine, ids: set[bytes]) -> list[float]:
    """What was measured on exactly these samples, from the predictions that were kept."""
    tables = [pq.read_table(path) for path in cl.home.glob("evaluations/*/predictions.parquet")]
    protocol = SCORE.removesuffix(".accuracy")
    return [
        float(np.mean(table[protocol].to_numpy() == table["label"].to_numpy()))
        for table in tables
        if set(table["id"].to_pylist()) == ids
    ]
