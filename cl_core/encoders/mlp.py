"""A multilayer perceptron on the flattened view: for vectors, and for fast tests."""

import math

from pydantic import Field
from torch import nn

from cl_core.encoders import Encoder, EncoderOptions
from cl_core.registry import ENCODERS


@ENCODERS.register("mlp")
class MLP(EncoderOptions):
    """Flatten, linear, ReLU, linear. The features are not rectified: they may have any sign.

    Source: none; the textbook's, with torch's default initialization.
    """

    hidden: int = Field(256, ge=1, le=65536, title="Hidden width")
    """Width of the hidden layer. Units."""
    features: int = Field(128, ge=1, le=65536)
    """Width of the output. Units."""
    batch_norm: bool = Field(False, title="Batch normalization")
    """Normalize the hidden layer over the batch, before its ReLU."""

    def build(self, shape: tuple[int, ...]) -> Encoder:
        """Build a fresh encoder for views of any shape."""
        layers = [
            nn.Flatten(),
            nn.Linear(math.prod(shape), self.hidden, bias=not self.batch_norm),
            *([nn.BatchNorm1d(self.hidden)] if self.batch_norm else []),
            nn.ReLU(inplace=True),
            nn.Linear(self.hidden, self.features),
        ]
        return Encoder(nn.Sequential(*layers), self.features)
