"""Two towers: any encoders, each for its side; and what does not fit is refused with the path of the option."""

import pytest
import torch

from cl_core.encoders.two_towers import TwoTowersOptions
from cl_core.errors import SpecError
from cl_core.modalities.image import Images
from cl_core.modalities.image_text import ImageTexts
from cl_core.registry import ENCODERS, Nested
from cl_core.specs import TrainingSpec
from cl_core.training.component_checks import check_views
from cl_core.training.components import assemble, training_digest

MODALITY = ImageTexts(size=16, length=32, buckets=100)
SMALL = Nested(name="resnet_small", options={"stem_width": 8, "width": 8, "stages": 1})


def built(**options: object) -> TwoTowersOptions:
    encoder: TwoTowersOptions = ENCODERS.build("two_towers", options, field="training.encoder")
    return encoder


def test_each_side_has_its_own_tower_into_one_space() -> None:
    options = built(image=SMALL, text={"name": "gru", "options": {"hidden": 12}}, width=10)
    processor = MODALITY.example_processor(MODALITY.known_arrays())
    encoder = options.build_for(processor)
    assert encoder.features == 10
    for side, other in ((0, 1), (1, 0)):
        view = torch.rand(3, *processor.side(side).view_shape).round()
        assert encoder.tower(side)(view).shape == (3, 10)
        assert encoder.tower(side) is not encoder.tower(other)
    assert {name.split(".")[1] for name in encoder.state_dict()} == {"image", "text"}


def test_options_of_a_tower_are_written_out_and_are_in_the_digest() -> None:
    options = built(image=SMALL)
    assert options.image.options.keys() > {"stem_width"} and options.text.name == "bag"
    choices = [{"text": {"name": name}} for name in ("bag", "gru")]
    specs = [TrainingSpec(method="clip", encoder="two_towers", encoder_options=one) for one in choices]
    digests = [training_digest(assemble(spec), snapshot_digest="", modality=MODALITY) for spec in specs]
    assert digests[0] != digests[1]
    assert [one.registered_name for one in assemble(specs[1]).encoder.nested] == ["resnet_small", "gru"]


def test_unknown_names_and_options_of_a_tower_are_refused_with_their_path() -> None:
    with pytest.raises(SpecError, match=r"^training.encoder_options.text.name: there is no encoder named 'bagg' \(did"):
        built(text={"name": "bagg"})
    with pytest.raises(SpecError, match=r"^training.encoder_options.image.options.widht: there is no such option"):
        built(image={"name": "resnet_small", "options": {"widht": 8}})
    with pytest.raises(SpecError, match=r"^training.views_options.text.name: there is no view policy named 'noise_'"):
        assemble(TrainingSpec(method="clip", views_options={"text": {"name": "noise_"}}))


def refusal(modality: object, **training: object) -> str:
    with pytest.raises(SpecError) as caught:
        check_views(assemble(TrainingSpec.model_validate(training)), modality)  # type: ignore[arg-type]
    return str(caught.value)


def test_what_does_not_fit_pairs_of_two_kinds_is_refused_before_the_training() -> None:
    pair = {"method": "clip", "encoder": "two_towers"}
    check_views(assemble(TrainingSpec.model_validate({**pair, "encoder_options": {"image": SMALL}})), MODALITY)
    assert refusal(MODALITY, method="clip") == (
        "training.encoder: 'resnet_small' is one network, and data.modality is 'image_text'; choose one of: two_towers"
    )
    assert refusal(Images(size=16), encoder="two_towers").startswith(
        "training.encoder: 'two_towers' is a network for each side of pairs, and data.modality is 'image'; choose one"
    )
    assert refusal(MODALITY, **{**pair, "method": "simclr", "views": "side_by_side"}) == (
        "training.method: 'simclr' passes all views through one network, and data.modality is 'image_text', whose "
        "sides have a network each; choose one of: clip"
    )
    assert refusal(MODALITY, **{**pair, "views": "simclr"}).startswith(
        "training.views: 'simclr' makes views of image, and data.modality is 'image_text'; choose one of: side_by_side"
    )
    swapped = {"image": {"name": "bag"}, "text": {"name": "mlp"}}
    assert "bag" in refusal(MODALITY, **pair, encoder_options=swapped).lower()
    side = {"image": {"name": "word_noise"}}
    assert refusal(MODALITY, **pair, views_options=side).startswith(
        "training.views_options.image.name: 'word_noise' makes views of text, and data.modality is 'image'; choose one"
    )
    side = {"text": {"name": "dacl_mixup"}}
    assert refusal(MODALITY, **pair, views_options=side).startswith(
        "training.views_options.text.name: 'dacl_mixup' mixes samples, which are numbers, and data.modality is 'text'"
    )
    assert refusal(MODALITY, **pair, start_towers=["txt=sentences/1"]) == (
        "training.start_towers: there is no tower 'txt', it has the towers image and text; correct the name, or leave "
        "it out"
    )
    assert "'resnet_small' has no towers" in refusal(Images(size=16), start_towers=["image=photos/1"])
