"""Vectors: what is rejected, how values are standardized, and how a person sees and asks for one."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from modalities.cases import vector_payload
from pydantic import ValidationError
from sklearn.preprocessing import StandardScaler

from cl_core.columns import Column, Columns, Split
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.sources import built_source
from cl_core.errors import DataError, SpecError
from cl_core.modalities import ArraySpec, Rejected
from cl_core.modalities.image import Images
from cl_core.modalities.vector import Vectors
from cl_core.specs import DataSpec

VECTORS = Vectors()


def split_of(rows: np.ndarray) -> Split:
    ids = np.zeros((len(rows), 32), np.uint8)
    return Split(
        columns=Columns({"vector": Column(rows)}),
        ids=ids,
        sample_ids=np.arange(len(rows), dtype=np.uint64),
        labels=None,
    )


def fitted(rows: np.ndarray):
    return VECTORS.fit_processor(split_of(rows), {})


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b"12345", "damaged"),
        (bytes(4 * 65_537), "too_large"),
        (vector_payload([np.nan, np.nan]), "no_values"),
        (vector_payload([0, np.inf]), "infinite"),
        (vector_payload([-np.inf, np.nan]), "infinite"),
    ],
)
def test_bytes_that_are_not_a_vector_are_rejected_with_their_reason(payload: bytes, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        VECTORS.inspect(payload, fingerprint=False)
    assert caught.value.reason == reason


def test_the_values_are_standardized_as_scikit_learn_does_it_over_several_blocks() -> None:
    rows = (np.random.default_rng(0).normal(size=(9000, 5)) * [1, 10, 1e-3, 1e4, 1] + [0, 5, 1, 1e6, 0]).astype(
        np.float32
    )
    wanted = StandardScaler().fit(rows.astype(np.float64))
    processor = fitted(rows)
    np.testing.assert_allclose(processor.mean.numpy(), wanted.mean_, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(processor.std.numpy(), wanted.scale_, rtol=1e-6)
    assert processor.view_shape == (5,)
    # Only the fourth column is far from zero for its spread; float32 itself has 24 bits.
    np.testing.assert_allclose(processor((torch.from_numpy(rows),)).numpy(), wanted.transform(rows), atol=1e-4)


def test_missing_values_are_left_out_of_the_moments_and_told_apart_by_a_mask() -> None:
    nan = np.nan
    rows = np.array([[1, nan], [3, 4], [nan, 4]], np.float32)
    processor = fitted(rows)
    assert processor.mean.tolist() == [2, 4] and processor.std.tolist() == [1, 1]
    assert processor.view_shape == (4,)
    views = processor((torch.from_numpy(rows),))
    assert views.tolist() == [[-1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0]]
    np.testing.assert_array_equal(processor.restored(views)[0].numpy(), rows)


def test_a_value_that_never_changes_is_zero_and_one_that_is_always_missing_is_only_a_mask() -> None:
    rows = np.array([[7, np.nan, 1], [7, np.nan, 2]], np.float32)
    views = fitted(rows)((torch.from_numpy(rows),))
    assert views.tolist() == [[0, 0, -1, 0, 1, 0], [0, 0, 1, 0, 1, 0]]


def test_without_missing_values_in_the_training_split_a_missing_one_later_is_the_mean() -> None:
    processor = fitted(np.array([[1, 2], [3, 6]], np.float32))
    assert processor.view_shape == (2,)
    assert processor((torch.tensor([[np.nan, 6.0]]),)).tolist() == [[0, 1]]


def test_vectors_of_several_lengths_are_refused_before_they_are_cached() -> None:
    profiler = VECTORS.profiler()
    for values in ([1, 2, 3], [4, 5, np.nan], [1, 2]):
        profiler.add("train", VECTORS.inspect(vector_payload(values), fingerprint=False).measures)
    content = profiler.profile()
    assert content == {"values": 3, "lengths": 2, "missing": 1 / 8}
    with pytest.raises(DataError, match=r"^data.source: the vectors have 2 different lengths, most of them 3 values"):
        VECTORS.array_specs(content)
    with pytest.raises(Rejected, match="it has 2 values, and the others have 3"):
        VECTORS.decode(vector_payload([1, 2]), (ArraySpec("float32", (3,)),))


def test_a_file_with_one_row_of_numbers_is_what_a_person_searches_by() -> None:
    file = io.BytesIO()
    np.save(file, np.array([[1.5, -2, 3]]))
    assert VECTORS.payload_of(file.getvalue()) == VECTORS.payload_of(b"1.5,-2,3\n") == vector_payload([1.5, -2, 3])
    assert VECTORS.payload_of(b"1,,3,\n") == vector_payload([1, np.nan, 3, np.nan])
    for wrong in (b"1,2\n3,4\n", b"a,b\n", b"\x93NUMPY\x01\x00", b"\xff\xfe"):
        with pytest.raises(Rejected, match="it holds"):
            VECTORS.payload_of(wrong)


def test_a_vector_is_shown_as_a_line_with_gaps_where_values_are_missing() -> None:
    shown = VECTORS.preview((np.array([0, 1, np.nan, 0.5], np.float32),), side=40)
    assert 'd="M0 31.0L1 1.0M3 16.0"' in shown.html and shown.text == "0, 1, nan, 0.5"
    many = VECTORS.preview((np.arange(784, dtype=np.float32),), side=40)
    assert many.html.count("L") == 63 and many.text == "0, 1, 2, 3, ... (784 values)"
    assert "M0 16.0L1 16.0" in VECTORS.preview((np.array([5, 5], np.float32),), side=40).html


def test_the_baseline_is_the_standardized_values() -> None:
    rows = np.array([[1, 2], [3, 6]], np.float32)
    assert VECTORS.baseline_features((rows,), fitted(rows)).tolist() == [[-1, -1], [1, 1]]


def test_near_duplicates_of_vectors_cannot_be_kept_together(tmp_path: Path) -> None:
    spec = DataSpec(name="colors", source="colors", modality="vector", near_duplicates_together=True)
    with pytest.raises(SpecError, match=r"^data.near_duplicates_together: near-duplicates of vectors are not found"):
        ingest_source(spec, datasets=tmp_path)


def test_the_same_bytes_as_another_modality_are_another_snapshot() -> None:
    """Images keep the digests that they had before there were other modalities."""
    assert VECTORS.digest_part == b"modality vector\n"
    assert Images().digest_part == b""


def test_the_options_of_images_are_refused_for_vectors_and_the_other_way_round() -> None:
    for wrong, sentence in (
        ({"modality": "vector", "image_size": 32}, "image_size 32 is an option of images, and modality is 'vector'"),
        ({"modality_options": {"size": 3}}, "modality_options are {'size': 3}, and images have none here"),
    ):
        with pytest.raises(ValidationError, match=sentence):
            DataSpec(name="a", source="colors", **wrong)
    stored = DataSpec(name="a", source="colors", modality="vector").model_dump(mode="json")
    assert stored["modality"] == "vector" and "image_size" not in stored and "modality_options" not in stored
    assert "modality" not in DataSpec(name="a", source="synthetic").model_dump(mode="json")


def test_a_source_of_images_delivers_no_vectors() -> None:
    spec = DataSpec(name="a", source="image_folder", modality="vector")
    with pytest.raises(SpecError, match=r"^data.source: 'image_folder' delivers image, not vector; choose another"):
        built_source(spec, spec.modality)


def test_the_processor_knows_and_keeps_which_values_are_of_one_column() -> None:
    rows = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    processor = VECTORS.fit_processor(split_of(rows), {"column_widths": [1, 3, 1]})
    stored = VECTORS.processor((ArraySpec("float32", (5,)),), processor.state_dict())
    for each in (processor, stored):
        assert each.columns is not None and each.columns.tolist() == [0, 1, 1, 1, 2]
    # Where each value is a column, as before, nothing is kept.
    assert "columns" not in fitted(rows).state_dict()
    # Widths of other vectors, as after a change of the source, say nothing of these.
    assert VECTORS.fit_processor(split_of(rows), {"column_widths": [1, 3]}).columns is None
