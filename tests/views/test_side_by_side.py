"""Views of pairs of two kinds: each is that of its policy alone, with draws of its own."""

import numpy as np
import pytest
import torch
from modalities.cases import image, text

from cl_core.columns import Column, Columns, SamplePool
from cl_core.modalities import joined
from cl_core.modalities._model_input import model_row
from cl_core.modalities.image_text import ImageTexts
from cl_core.registry import VIEWS
from cl_core.rng import SampleRng
from cl_core.views.side_by_side import SideBySideViews

COUNT = 12
MODALITY = ImageTexts(size=12, length=64, buckets=500)


@pytest.fixture(scope="module")
def pool() -> SamplePool:
    payloads = [
        joined((picture, sentence)) for (picture, _), (sentence, _) in zip(image().samples, text().samples, strict=True)
    ]
    arrays = MODALITY.array_specs({"channels": 1})
    rows = zip(*(model_row(payload, MODALITY, arrays) for payload in payloads[:COUNT]), strict=True)
    names = (kind.name for kind in MODALITY.columns)
    return SamplePool(Columns({name: Column(np.stack(column)) for name, column in zip(names, rows, strict=True)}))


def made(views: SideBySideViews, pool: SamplePool, *, fused: bool = False) -> tuple[torch.Tensor, ...]:
    processor = MODALITY.example_processor(MODALITY.array_specs({"channels": 1}))
    rng = SampleRng(5, 2, np.arange(COUNT, dtype=np.uint64))
    make = views.fused if fused else views
    return make(pool.batch(np.arange(COUNT)), rng=rng, processor=processor, pool=pool)


def test_each_view_is_that_of_its_policy_alone(pool: SamplePool) -> None:
    image_view, text_view = made(SideBySideViews(), pool)
    processor = MODALITY.example_processor(MODALITY.array_specs({"channels": 1}))
    rng = SampleRng(5, 2, np.arange(COUNT, dtype=np.uint64))
    options = SideBySideViews().image.options
    alone = VIEWS.build("simclr", options, field="views")
    images, texts = pool.batch(np.arange(COUNT))
    assert torch.equal(image_view, alone((images,), rng=rng, processor=processor.side(0), pool=pool)[0])
    of_texts = VIEWS.build("word_noise", {}, field="views")
    first = of_texts((texts,), rng=rng, processor=processor.side(1), pool=pool)[0]
    assert text_view.shape == first.shape and not torch.equal(text_view, first)
    # The text has draws of its own, so that what happens to an image says nothing of what happens to its text.
    assert np.corrcoef(rng.uniforms(stream=0, count=200).ravel(), rng.of_side(1).uniforms(stream=0, count=200).ravel())[
        0, 1
    ] == pytest.approx(0, abs=0.1)


@pytest.mark.usefixtures("compiled_views")
def test_images_are_made_in_one_pass_where_there_is_a_kernel(pool: SamplePool) -> None:
    views = SideBySideViews()
    assert views.why_not_fused() == ""
    for one, other in zip(made(views, pool), made(views, pool, fused=True), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-3)


def test_policies_make_no_more_views_than_one(pool: SamplePool) -> None:
    views = SideBySideViews()
    assert views.nested[0].count == 1 and views.count == 2 and len(made(views, pool)) == 2
    assert views.image.options["view_count"] == 2, "the spec keeps what was given"
