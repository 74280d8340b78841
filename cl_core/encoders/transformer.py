"""A transformer over the words of a text."""

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from cl_core.encoders import Encoder
from cl_core.encoders._keyed_dropout import KeyedDropout
from cl_core.encoders._texts import TextEncoderOptions
from cl_core.modalities._text_processor import PADDING, TextLayout, TextProcessor
from cl_core.registry import ENCODERS


@ENCODERS.register("transformer")
class Transformer(TextEncoderOptions):
    """Pre-norm transformer with GELU and learned positions; the features are the mean over the words.

    It reads words, and no n-grams: words that are not in the vocabulary are all one to it.

    Source: Vaswani et al. 2017, "Attention is all you need", arXiv:1706.03762, with the norms before each part as in
    Xiong et al. 2020, arXiv:2002.04745, and the initial weights of CLIP's text encoder, arXiv:2103.00020. Differences:
    every word attends to every other; the mean as in Reimers and Gurevych 2019, arXiv:1908.10084.
    """

    width: int = Field(128, ge=1, le=4096)
    """Of the vector of a word, and of the output. Units."""
    layers: int = Field(2, ge=1, le=48)
    """Blocks of attention and feed-forward network. Layers."""
    heads: int = Field(4, ge=1, le=64)
    """Of each attention; they share the width. Heads."""
    feed_forward: int = Field(512, ge=1, le=16_384, title="Feed-forward width")
    """Width of the hidden layer of each block. Four times the width in the papers. Units."""
    most_words: int = Field(64, ge=1, le=4096, title="Maximum words")
    """Words that are read of a text, from its beginning. Time grows with them, however short texts are. Words."""
    dropout: float = Field(0.1, ge=0, le=0.9)
    """Probability of a feature to be dropped in training, of words and after each part of a block; views give the
    noise. Fraction."""

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(
                f"width {self.width} is not divisible by {self.heads} heads; nearest: "
                f"{max(1, self.width // self.heads) * self.heads}"
            )
        return self

    def build_for_texts(self, processor: TextProcessor) -> Encoder:
        """Build a fresh encoder for a vocabulary."""
        return Encoder(_Words(self, processor.layout), self.width)


class _Words(nn.Module):
    def __init__(self, options: Transformer, layout: TextLayout) -> None:
        super().__init__()
        self.layout, self.most_words = layout, options.most_words
        self.vectors = nn.Embedding(layout.words, options.width, padding_idx=PADDING)
        self.positions = nn.Parameter(0.01 * torch.randn(min(options.most_words, layout.most_words), options.width))
        self.dropout = KeyedDropout(options.dropout, layer=0)
        self.blocks = nn.ModuleList(_Block(options, number) for number in range(options.layers))
        self.norm = nn.LayerNorm(options.width)
        nn.init.normal_(self.vectors.weight, std=0.02)

    def forward(self, views: Tensor) -> Tensor:
        keys, ids = self.layout.noise_keys(views), self.layout.word_ids(views)[:, : self.most_words]
        present = ids != PADDING
        words = self.dropout(self.vectors(ids) + self.positions, keys)
        for block in self.blocks:
            words = block(words, present, keys)
        counts = present.sum(1, keepdim=True).clamp(min=1)
        mean: Tensor = (self.norm(words) * present[..., None]).sum(1) / counts
        return mean


class _Block(nn.Module):
    """Attention and feed-forward network, each behind a norm and added to what it was given."""

    def __init__(self, options: Transformer, number: int) -> None:
        super().__init__()
        width, self.heads = options.width, options.heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.rise, self.fall = nn.Linear(width, options.feed_forward), nn.Linear(options.feed_forward, width)
        self.dropout_1, self.dropout_2 = (
            KeyedDropout(options.dropout, layer=1 + 2 * number + part) for part in range(2)
        )
        nn.init.normal_(self.queries_keys_values.weight, std=width**-0.5)
        nn.init.normal_(self.rise.weight, std=(2 * width) ** -0.5)
        for layer in (self.mixed, self.fall):
            nn.init.normal_(layer.weight, std=(2 * options.layers * width) ** -0.5)

    def forward(self, words: Tensor, present: Tensor, keys: Tensor) -> Tensor:
        """Map (N, T, D); words that are not `present` (N, T) are attended to by none."""
        words = words + self.dropout_1(self.mixed(self._attention(self.norm_1(words), present)), keys)
        changed: Tensor = words + self.dropout_2(self.fall(functional.gelu(self.rise(self.norm_2(words)))), keys)
        return changed

    def _attention(self, words: Tensor, present: Tensor) -> Tensor:
        # Written out: torch's own takes another path in evaluation mode, and gives NaN for a text without words.
        split = self.queries_keys_values(words).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys, values = split.unbind(0)
        scores = queries @ keys.transpose(2, 3) * queries.shape[3] ** -0.5
        scores = scores.masked_fill(~present[:, None, None], torch.finfo(scores.dtype).min)
        attended: Tensor = (scores.softmax(3) @ values).transpose(1, 2).flatten(2)
        return attended
