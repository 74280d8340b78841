import numpy as np
import pytest
import torch
from torch import nn

from cl_core.artifact_dir import verify
from cl_core.errors import TrainingError
from cl_core.evaluation.features import FeatureBlocks, SplitFeatures, cached_features, extract
from cl_core.modalities._image_processor import ImageProcessor

MEAN, STD = (0.25, 0.5, 0.75), (0.5, 0.25, 0.125)
SETTINGS = {
    "processor": ImageProcessor(MEAN, STD, 8),
    "batch_size": 4,
    "device": "cpu",
    "precision": "fp32",
    "channels_last": False,
}


@pytest.fixture
def images() -> np.ndarray:
    images = np.random.default_rng(0).integers(256, size=(10, 8, 8, 3), dtype=np.uint8)
    images.flags.writeable = False  # As when they lie in a file that is mapped.
    return images


@pytest.fixture
def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 5))


def test_the_encoder_sees_normalized_pixels_channels_first(images):
    features = extract(nn.Flatten(), (images,), **SETTINGS)
    expected = (images / 255 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(features, expected.transpose(0, 3, 1, 2).reshape(10, -1), atol=1e-6)
    assert features.dtype == np.float32


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_features_depend_neither_on_the_batch_nor_on_the_layout(encoder, images, batch_size, channels_last):
    reference = extract(encoder, (images,), **SETTINGS)
    features = extract(encoder, (images,), **{**SETTINGS, "batch_size": batch_size, "channels_last": channels_last})
    np.testing.assert_allclose(features, reference, atol=1e-5)


def test_bf16_features_are_float32_near_the_exact_ones(encoder, images):
    exact = extract(encoder, (images,), **SETTINGS)
    rounded = extract(encoder, (images,), **{**SETTINGS, "precision": "bf16"})
    assert rounded.dtype == np.float32
    assert 0 < np.abs(rounded - exact).max() < 0.05


def test_extraction_leaves_the_encoder_as_it_was(encoder, images):
    encoder.train()
    encoder[1].eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    extract(encoder, (images,), **SETTINGS)
    assert encoder.training and not encoder[1].training and encoder[4].training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_the_encoders_modes_survive_an_error(images):
    encoder = nn.Conv2d(1, 1, 3).train()
    with pytest.raises(RuntimeError, match="to have 1 channels"):
        extract(encoder, (images,), **SETTINGS)
    assert encoder.training


def test_features_that_are_not_finite_are_refused(encoder, images):
    nn.init.constant_(encoder[4].bias, float("nan"))
    with pytest.raises(TrainingError, match="10 of 10 samples are NaN or infinite"):
        extract(encoder, (images,), **SETTINGS)


@pytest.fixture
def splits() -> dict[str, SplitFeatures]:
    generator = np.random.default_rng(0)
    # Any bits at all, so that what is read back is compared bit by bit: NaN, -0 and subnormals too.
    bits = generator.integers(1 << 32, size=(300, 7), dtype=np.uint32)
    ids = generator.integers(256, size=(300, 32), dtype=np.uint8)
    return {
        "train": SplitFeatures(ids[:200], bits[:200].view(np.float32)),
        "test": SplitFeatures(ids[200:], bits[200:].view(np.float32)),
    }


def blocks_of(splits: dict[str, SplitFeatures]) -> dict[str, FeatureBlocks]:
    """The features in pieces of 90 rows."""
    return {
        name: FeatureBlocks(ids, [embeddings[start : start + 90] for start in range(0, len(ids), 90)])
        for name, (ids, embeddings) in splits.items()
    }


def test_features_read_back_are_bit_identical(tmp_path, splits):
    kept = cached_features(tmp_path / "digest", lambda: blocks_of(splits), {})
    assert kept.keys() == splits.keys()
    for name, (ids, embeddings) in kept.items():
        np.testing.assert_array_equal(ids, splits[name].ids)
        assert embeddings.tobytes() == splits[name].embeddings.tobytes()
        assert embeddings.shape == splits[name].embeddings.shape and embeddings.dtype == np.float32


def test_kept_features_are_not_computed_again(tmp_path, splits):
    first = cached_features(tmp_path / "digest", lambda: blocks_of(splits), {})

    def compute() -> dict[str, FeatureBlocks]:
        raise AssertionError("computed twice")

    second = cached_features(tmp_path / "digest", compute, {})
    assert all(second[name].embeddings.tobytes() == first[name].embeddings.tobytes() for name in splits)


def test_damaged_features_are_computed_again(tmp_path, splits):
    path = tmp_path / "digest"
    cached_features(path, lambda: blocks_of(splits), {})
    file = path / "train.features.npy"
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)

    kept = cached_features(path, lambda: blocks_of(splits), {})
    assert kept["train"].embeddings.tobytes() == splits["train"].embeddings.tobytes()
    verify(path)


def test_a_failed_computation_leaves_nothing(tmp_path):
    def compute() -> dict[str, FeatureBlocks]:
        raise TrainingError("broken")

    with pytest.raises(TrainingError, match="broken"):
        cached_features(tmp_path / "digest", compute, {})
    assert list(tmp_path.iterdir()) == []


def test_the_files_are_those_of_numpy_and_stay_on_the_disk(tmp_path, splits):
    kept = cached_features(tmp_path / "digest", lambda: blocks_of(splits), {})
    assert isinstance(kept["test"].embeddings.base, np.memmap)
    for name, array in (("test.features", splits["test"].embeddings), ("test.id", splits["test"].ids)):
        np.save(tmp_path / "again.npy", array)
        assert (tmp_path / "digest" / f"{name}.npy").read_bytes() == (tmp_path / "again.npy").read_bytes()


def test_split_features_in_any_memory_order_are_kept_by_row(tmp_path):
    embeddings = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    split = SplitFeatures(np.zeros((3, 32), dtype=np.uint8), embeddings)
    kept = cached_features(tmp_path / "digest", lambda: blocks_of({"train": split}), {})
    np.testing.assert_array_equal(kept["train"].embeddings, embeddings)
