"""Similarity of texts beside ratings of people: ranks as SciPy has them, and files as people write them."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from cl_core.columns import Column
from cl_core.errors import DataError, InputError
from cl_core.evaluation.bootstrap import resample_counts
from cl_core.evaluation.protocols import EvaluatedData, Features
from cl_core.evaluation.protocols.similarity import Similarity, spearman

TEXTS = EvaluatedData({}, {}, takes=("text",))
ROWS = [("a cat", "a dog", 3.5), ("a cat", "the cat", 4.75), ("a boat", "two, three", 0), ("世界", "world", 5)]


def written(folder: Path, rows: list[tuple[str, str, float]] = ROWS) -> Path:
    path = folder / "rated.jsonl"
    lines = (json.dumps({"first": one, "second": other, "rating": rated}) for one, other, rated in rows)
    path.write_text("\n".join(lines))
    return path


def features(asked: np.ndarray) -> Features:
    nothing = np.zeros((2, 4), np.float32)
    return Features(Column(nothing), None, np.zeros((2, 32), np.uint8), asked={"similarity": asked})


def test_the_correlation_is_that_of_scipy_also_of_equal_values_and_of_each_resample() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 12, 60).astype(np.float64), rng.normal(size=60)
    second += first / 4
    correlation = spearman(first, second)
    assert correlation(np.ones((1, 60)))[0] == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)
    [counts] = resample_counts(60, resamples=50, seed=3)
    wanted = [
        stats.spearmanr(np.repeat(first, n.astype(int)), np.repeat(second, n.astype(int))).statistic for n in counts
    ]
    np.testing.assert_allclose(correlation(counts.astype(np.float64)), wanted, atol=1e-12)


def test_cosines_of_the_pairs_are_ranked_beside_their_ratings(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [(f"first {n}", f"second {n}", float(rng.integers(0, 6))) for n in range(80)]
    protocol = Similarity(pairs=str(written(tmp_path, rows))).fitted_to(TEXTS)
    assert protocol.asked([]) == [text.encode() for column in (0, 1) for text in [row[column] for row in rows]]
    asked = rng.normal(size=(160, 8)).astype(np.float32)
    ratings = np.array([rated for _, _, rated in rows])
    asked[80:] += asked[:80] * ratings[:, None] / 3
    scores = protocol(features(asked), features(asked), classes=[], resamples=300, seed=0).scores
    first, second = (part.astype(np.float64) for part in np.split(asked, 2))
    cosines = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    found = scores["similarity.spearman"]
    assert found.value == pytest.approx(stats.spearmanr(cosines, ratings).statistic, abs=1e-9)
    assert 0.4 < found.low < found.value < found.high < 1


def test_embeddings_that_have_collapsed_have_a_correlation_of_0(tmp_path: Path) -> None:
    protocol = Similarity(pairs=str(written(tmp_path)))
    same = features(np.ones((8, 4), np.float32))
    found = protocol(same, same, classes=[], resamples=100, seed=0).scores["similarity.spearman"]
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_another_content_of_the_file_is_another_digest(tmp_path: Path) -> None:
    first = Similarity(pairs=str(written(tmp_path))).inputs_digest
    second = Similarity(pairs=str(written(tmp_path, ROWS[::-1]))).inputs_digest
    assert first != second and len(first) == 64
    assert Similarity(pairs=str(written(tmp_path))).inputs_digest == first


def test_tables_have_columns_of_any_name(tmp_path: Path) -> None:
    path = tmp_path / "rated.csv"
    path.write_text("score,one,two\n" + "\n".join(f'{rated},"{one}","{other}"' for one, other, rated in ROWS))
    protocol = Similarity(pairs=str(path), first_column="one", second_column="two", rating_column="score")
    assert protocol.fitted_to(TEXTS).asked([])[1:6:4] == [b"a cat", b"the cat"]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (("a", " ", 1), r"row 4 of .*: column 'second': it has no character that can be seen; correct the row"),
        (("a", "b\0", 1), r"row 4 of .*: column 'second': character 1 is NUL"),
        (("a", "b", "many"), r"row 4 of .*: the rating is 'many', not a number"),
        (("a", "b", float("nan")), r"row 4 of .*: the rating is 'nan', not a number"),
        ((5, "b", 1), r"row 4 of .*: 'first' is int; expected text"),
    ],
)
def test_a_row_that_cannot_be_a_rated_pair_is_refused_before_the_training(tmp_path: Path, row, sentence: str) -> None:
    protocol = Similarity(pairs=str(written(tmp_path, [*ROWS, row])))
    with pytest.raises(DataError, match=sentence):
        protocol.fitted_to(TEXTS)


def test_what_cannot_be_measured_is_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("a line\n")
    equal = written(tmp_path, [(one, other, 1) for one, other, _ in ROWS])
    for options, takes, sentence in (
        ({"pairs": str(equal)}, "image", r"similarity is of texts, and models of these data take images"),
        ({}, "text", r"similarity.pairs is empty; give a file"),
        ({"pairs": str(tmp_path / "gone.csv")}, "text", r"gone.csv is no file; give CSV"),
        ({"pairs": str(lines)}, "text", r"lines.txt has no columns; give CSV"),
        ({"pairs": str(equal)}, "text", r"4 pairs with 1 different ratings; a rank correlation needs 3 pairs"),
        ({"pairs": str(equal), "first_column": "second"}, "text", r"second_column is 'second', .*; name three"),
    ):
        with pytest.raises(DataError, match=sentence):
            Similarity(**options).fitted_to(EvaluatedData({}, {}, takes=(takes,)))
    monkeypatch.setenv("CL_DATA_ROOTS", str(tmp_path / "allowed"))
    with pytest.raises(InputError, match=r"^evaluation.options.similarity.pairs: .* is outside the allowed folders"):
        Similarity(pairs=str(equal)).fitted_to(TEXTS)


def test_the_file_is_read_once_so_that_what_is_digested_is_what_is_measured(tmp_path: Path) -> None:
    path = written(tmp_path)
    protocol = Similarity(pairs=str(path)).fitted_to(TEXTS)
    before = protocol.asked([]), protocol.inputs_digest
    path.unlink()
    assert before == (protocol.asked([]), protocol.inputs_digest)
