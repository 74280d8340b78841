"""Warm start: the champion's weights as the initial weights of an encoder."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from cl_core.encoders import Encoder
from cl_core.errors import SpecError
from cl_core.modalities._processor import Processor
from cl_core.registry import ENCODERS
from cl_core.training.components import Parts

Continued = Callable[[Mapping[str, Tensor]], Processor]
"""Buffers of a champion's processor to that of a training on these samples that starts from its weights.

A ValueError means that they are of other samples.
"""

WEIGHTS, SPEC = "weights.safetensors", "spec.json"
"""The files of a registered version that a training starts from."""


def load_initial_weights(encoder: Encoder, folder: Path) -> None:
    """Load initial weights and running statistics into an encoder of the kind that `check_initial_weights` compared.

    `folder` holds `WEIGHTS` of a registered version; the processor in it is not the encoder's.
    """
    # Of towers that start fresh it has none.
    encoder.load_state_dict({**encoder.state_dict(), **state_of("encoder", folder / WEIGHTS)})


def check_initial_weights(folder: Path, parts: Parts, *, champion: str, continued: Continued) -> None:
    """Refuse a champion whose encoder differs from the one to be trained.

    `folder` holds `WEIGHTS` and `SPEC` of the champion; `champion` is its address, for the message. `continued` gives
    the processor of the training with the champion's buffers.

    Raises:
        SpecError: Naming both encoders, and what to do.
    """
    theirs = json.loads((folder / SPEC).read_text(encoding="utf-8"))["training"]
    mine = _described(parts.spec.encoder, parts.spec.encoder_options)
    champion_encoder = _described(theirs["encoder"], _completed(theirs["encoder"], theirs["encoder_options"]))
    if champion_encoder == mine:
        processor = _processor(folder, continued)
        with torch.device("meta"):
            shapes = _shapes(parts.encoder.build_for(processor).state_dict()) if processor else {}
        if shapes == _shapes(state_of("encoder", folder / WEIGHTS)):
            return
        mine += f" for inputs of the shape {_view_shapes(processor)}" if processor else " for these samples"
        champion_encoder += " for inputs of another shape"
    raise SpecError(
        f"training.start_from: wanted a champion with encoder {mine}, but {champion} has {champion_encoder}; set "
        "training.encoder and encoder_options to the champion's, or start from 'scratch'"
    )


def _view_shapes(processor: Processor) -> str:
    """Return the shape of a view, of pairs of two kinds that of each side."""
    return " and ".join(dict.fromkeys(str(processor.side(side).view_shape) for side in (0, 1)))


def join_towers(folder: Path, sides: Mapping[str, str], parts: Parts, *, continued: Continued) -> None:
    """Write `WEIGHTS` of some towers, from those of the versions that they start from.

    Args:
        folder: Holds `WEIGHTS` and `SPEC` of each version in a folder named after its side; the result is beside them.
        sides: The address of each version, for messages.
        parts: The training.
        continued: Gives the processor of the training with the buffers of these versions.

    Raises:
        SpecError: When the version's encoder is not the tower's.
    """
    towers = dict(zip(type(parts.encoder).model_fields, parts.encoder.nested, strict=False))
    state: dict[str, Tensor] = {}
    for side, address in sides.items():
        theirs = json.loads((folder / side / SPEC).read_text(encoding="utf-8"))["training"]
        mine = _described(towers[side].registered_name, towers[side].model_dump(mode="json"))
        their_encoder = _described(theirs["encoder"], _completed(theirs["encoder"], theirs["encoder_options"]))
        if their_encoder != mine:
            raise SpecError(
                f"training.start_towers.{side}: wanted a model with encoder {mine}, but {address} has {their_encoder}; "
                f"set training.encoder_options.{side} to the model's, or leave it out"
            )
        file = folder / side / WEIGHTS
        state |= {f"encoder.network.{side}.encoder.{name}": of for name, of in state_of("encoder", file).items()}
        state |= {f"processor.{side}.{name}": of for name, of in state_of("processor", file).items()}
    safetensors.torch.save_file(state, folder / WEIGHTS)
    processor = _processor(folder, continued)
    with torch.device("meta"):
        shapes = _shapes(parts.encoder.build_for(processor).state_dict()) if processor else {}
    if not _shapes(state_of("encoder", folder / WEIGHTS)).items() <= shapes.items():
        raise SpecError(
            f"training.start_towers: {' and '.join(sides.values())} take inputs of another shape than these samples "
            "have; leave them out, or train on samples like theirs"
        )


def _processor(folder: Path, continued: Continued) -> Processor | None:
    """Return the processor of a training with the champion's buffers; None where these are of other samples."""
    try:
        return continued(state_of("processor", folder / WEIGHTS))
    except ValueError:
        return None


def _completed(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return an encoder's options with today's defaults filled in, if they are still valid."""
    try:
        completed: dict[str, Any] = ENCODERS.build(name, options, field="training.encoder").model_dump(mode="json")
    except SpecError:
        return options
    return completed


def _described(name: str, options: dict[str, Any]) -> str:
    return f"{name!r} {json.dumps(options, sort_keys=True)}"


def state_of(part: str, file: Path) -> dict[str, Tensor]:
    """Return the weights and buffers of one part, such as the encoder, from a file with more."""
    state, prefix = safetensors.torch.load_file(file), f"{part}."
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}
