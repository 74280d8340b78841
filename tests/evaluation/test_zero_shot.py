"""Zero-shot classification beside OpenCLIP's classifier, and what is refused before a training."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from open_clip.zero_shot_classifier import build_zero_shot_classifier
from pydantic import ValidationError
from torch import Tensor

from cl_core.columns import Column
from cl_core.errors import DataError
from cl_core.evaluation.prompts import class_vectors, prompts
from cl_core.evaluation.protocols import EvaluatedData, Features
from cl_core.evaluation.protocols.zero_shot import ZeroShot

CLASSES = ["cat", "dog", "ice_cream", "T-shirt", "bird", "fish", "car"]
TEMPLATES = ("{}", "a photo of a {}", "one {}.")
PAIRS = EvaluatedData(dict.fromkeys(CLASSES, 5), dict.fromkeys(CLASSES, 5), takes=("image", "text"))


class Theirs:
    """A model as OpenCLIP's function calls one: it embeds a text by its bytes."""

    def encode_text(self, texts: Tensor, *, normalize: bool) -> Tensor:
        embedded = embeddings_of(texts.numpy())
        return F.normalize(torch.from_numpy(embedded), dim=1) if normalize else torch.from_numpy(embedded)


def tokens(texts: list[str]) -> Tensor:
    return torch.from_numpy(np.array([text.encode() for text in texts], "S40").view("u1").reshape(-1, 40))


def embeddings_of(rows: np.ndarray) -> np.ndarray:
    mixing = np.random.default_rng(3).normal(size=(40, 8))
    return (np.sin(rows.astype(np.float64)) @ mixing).astype(np.float32)


def features(count: int = 60) -> Features:
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, len(CLASSES), count)
    ids = rng.integers(0, 256, (count, 32), dtype=np.uint8)
    images = rng.normal(size=(count, 8)).astype(np.float32)
    texts = [text.decode() for text in prompts(CLASSES, {"T-shirt": "shirt"}, TEMPLATES)]
    asked = embeddings_of(tokens(texts).numpy())
    return Features(Column(images), labels, ids, asked={"zero_shot": asked})


def test_class_vectors_and_predictions_are_open_clips() -> None:
    test, protocol = features(), ZeroShot(templates=TEMPLATES, names={"T-shirt": "shirt"})
    names = ["cat", "dog", "ice cream", "shirt", "bird", "fish", "car"]
    theirs = build_zero_shot_classifier(Theirs(), tokens, names, list(TEMPLATES), num_classes_per_batch=3)
    ours = class_vectors(test.asked["zero_shot"], templates=len(TEMPLATES))
    torch.testing.assert_close(torch.from_numpy(ours), theirs.T, rtol=0, atol=1e-6)
    outcome = protocol(test, test, classes=CLASSES, resamples=200, seed=0)
    images = torch.from_numpy(test.embeddings.take(slice(None)))
    logits = (F.normalize(images, dim=1) @ theirs).numpy()
    np.testing.assert_array_equal(outcome.predictions["zero_shot"], logits.argmax(axis=1))
    scored = test.groups >= 0
    right = (logits.argmax(axis=1) == test.groups)[scored]
    assert outcome.scores["zero_shot.accuracy"].value == pytest.approx(right.mean())
    top = np.argsort(-logits, axis=1)[:, :5]
    among = (top == test.groups[:, None]).any(axis=1)
    np.testing.assert_array_equal(outcome.per_sample["zero_shot.top_5"][scored], among[scored])
    assert np.isnan(outcome.per_sample["zero_shot.top_5"][~scored]).all()
    assert set(outcome.predictions) == set(protocol.predictors) and set(outcome.per_sample) == set(
        protocol.per_sample_scores
    )


def test_prompts_are_every_name_in_every_template_and_names_are_read_as_words() -> None:
    assert ZeroShot(templates=TEMPLATES[:2]).asked(["ice_cream", "T-shirt"]) == [
        b"ice cream",
        b"a photo of a ice cream",
        b"T shirt",
        b"a photo of a T shirt",
    ]
    assert ZeroShot(names={"n01": "tench"}).asked(["n01", "café"]) == [b"tench", "café".encode()]


def test_where_there_are_fewer_classes_than_five_all_are_among_them() -> None:
    test = features()
    asked = {"zero_shot": np.eye(2, 8, dtype=np.float32)}
    few = Features(test.embeddings, np.minimum(test.groups, 1), test.ids, asked=asked)
    scores = ZeroShot()(few, few, classes=["a", "b"], resamples=100, seed=0).scores
    assert scores["zero_shot.top_5"].value == 1


def test_features_that_texts_cannot_be_compared_with_have_no_score() -> None:
    test = features()
    alone = Features(test.embeddings, test.labels, test.ids)
    assert ZeroShot()(alone, alone, classes=CLASSES, resamples=100, seed=0).scores == {}


def test_what_cannot_be_measured_is_refused_before_the_training() -> None:
    assert ZeroShot(names={"cat": "a cat"}).fitted_to(PAIRS) == ZeroShot(names={"cat": "a cat"})
    with pytest.raises(DataError, match=r"zero_shot compares images with texts.* take images only; set data.modality"):
        ZeroShot().fitted_to(EvaluatedData({}, {}))
    with pytest.raises(DataError, match=r"evaluation.options.zero_shot.names: there is no class 'cats'; there are: T-"):
        ZeroShot(names={"cats": "a cat"}).fitted_to(PAIRS)
    for name in (" ", "a\0b"):
        with pytest.raises(
            DataError, match=r"zero_shot.names: what class 'cat' is called is no text \(.*name it other"
        ):
            ZeroShot(names={"cat": name}).fitted_to(PAIRS)
    assert ZeroShot().asked(["_"]) == [b"_"]
    for wrong in ("a photo", "{} and {}", "{name}"):
        with pytest.raises(ValidationError, match=r"a template has \{\} once, in place of the name"):
            ZeroShot(templates=("{}", wrong))
