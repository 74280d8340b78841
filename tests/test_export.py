import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cl_core.export import EmbeddingModel, export_program, save_weights
from cl_core.modalities._image_processor import ImageProcessor


def model(channels=1, size=8):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5))
    encoder(torch.zeros(2, channels, size, size))
    return EmbeddingModel(ImageProcessor((0.3,) * channels, (0.2,) * channels, size), encoder)


def test_raw_pixels_are_normalized_per_channel_before_the_encoder():
    wrapped = EmbeddingModel(ImageProcessor((0.5, 0.25), (0.5, 0.25), 1), nn.Flatten())
    # (255 / 255 - 0.5) / 0.5 = 1 and (0 / 255 - 0.25) / 0.25 = -1, then unit length.
    found = wrapped(torch.tensor([255, 0], dtype=torch.uint8).reshape(1, 1, 1, 2))
    assert found[0].tolist() == pytest.approx([0.5**0.5, -(0.5**0.5)])


def test_channels_come_last_and_rows_stay_rows():
    wrapped = EmbeddingModel(ImageProcessor((0.0,), (1.0,), 2), nn.Flatten())
    image = torch.tensor([[[[3], [4]], [[0], [0]]]], dtype=torch.uint8)
    assert wrapped(image)[0].tolist() == pytest.approx([0.6, 0.8, 0, 0])


@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_program_takes_any_number_of_images_and_agrees_with_the_module(channels, rows):
    wrapped = model(channels)
    (images,) = wrapped.example(rows)
    found = export_program(wrapped).module()(images)
    torch.testing.assert_close(found, wrapped(images), atol=1e-6, rtol=0)
    assert found.shape == (rows, 5) and found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=1), torch.ones(rows))


def test_an_embedding_does_not_depend_on_the_rest_of_the_batch_even_when_asked_to_train():
    wrapped = model()
    wrapped.train()
    (images,) = wrapped.example(6)
    assert not wrapped.encoder.training
    torch.testing.assert_close(wrapped(images)[:1], wrapped(images[:1]), atol=1e-6, rtol=0)


def test_the_encoder_that_was_given_is_left_as_it_was():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).to(torch.bfloat16)
    wrapped = EmbeddingModel(ImageProcessor((0.0,), (1.0,), 2), encoder)
    assert encoder.training and encoder[1].weight.dtype == torch.bfloat16 and encoder[1].weight.requires_grad
    assert wrapped.encoder[1].weight.dtype == torch.float32


def test_a_program_that_would_freeze_the_batch_size_is_refused():
    class Shuffled(nn.Module):
        def forward(self, views):
            return views.flatten(1) * torch.ones(2, 1) if views.shape[0] == 2 else views.flatten(1)

    with pytest.raises(Exception, match=r"(?i)dynamic|specializ"):
        export_program(EmbeddingModel(ImageProcessor((0.0,), (1.0,), 2), Shuffled()))


def test_the_program_names_no_file_of_this_machine(tmp_path):
    torch.export.save(export_program(model()), tmp_path / "model.pt2")
    assert __file__.encode() not in (tmp_path / "model.pt2").read_bytes()
    assert b"cl_core/" not in (tmp_path / "model.pt2").read_bytes()


def test_weights_are_all_of_the_state_by_name(tmp_path):
    wrapped = model()
    save_weights(wrapped, tmp_path / "weights.safetensors")
    found = load_file(tmp_path / "weights.safetensors")
    assert found.keys() == wrapped.state_dict().keys()
    assert all(np.array_equal(found[name], tensor) for name, tensor in wrapped.state_dict().items())
