from collections import Counter

import numpy as np
import pytest

from cl_core.data.sources.synthetic import Synthetic
from cl_core.modalities._image_decoding import decode


def pictures(**options: object) -> np.ndarray:
    return np.stack([decode(sample.payload) for sample in Synthetic(**options).samples("")])


@pytest.mark.parametrize("channels", [1, 3])
def test_options_decide_number_size_channels_and_classes(channels):
    samples = list(Synthetic(count=30, classes=10, size=20, channels=channels).samples(""))
    assert {decode(sample.payload).shape for sample in samples} == {(20, 20, channels)}
    assert set(Counter(sample.label for sample in samples).values()) == {3}


def test_a_picture_depends_on_its_number_and_the_seed_only():
    few, many = pictures(count=5), pictures(count=2000)
    np.testing.assert_array_equal(few, many[:5])
    assert (pictures(count=5, seed=1) != few).any()


def test_no_two_pictures_are_alike():
    assert len({sample.payload for sample in Synthetic(count=2000).samples("")}) == 2000


def test_unlabeled_pictures_have_no_label():
    assert {sample.label for sample in Synthetic(count=8, labelled=False).samples("")} == {None}


def test_classes_can_be_separated_by_their_neighbors_but_not_perfectly():
    images = pictures(count=2000, classes=4).reshape(2000, -1).astype(np.float32)
    labels = np.arange(2000) % 4
    known, asked = images[:1600], images[1600:]
    distances = (known**2).sum(axis=1) - 2 * asked @ known.T  # Squared, less what is the same for all known ones.
    right = (labels[distances.argmin(axis=1)] == labels[1600:]).mean()
    assert 0.6 < right < 1.0  # A quarter would be chance.
