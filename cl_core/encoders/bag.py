"""A bag of words and n-grams: the weighted sum of their vectors. Fast, and hard to beat with little data."""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from cl_core.encoders import Encoder
from cl_core.encoders._keyed_dropout import KeyedDropout
from cl_core.encoders._texts import TextEncoderOptions
from cl_core.modalities._text_processor import TextLayout, TextProcessor
from cl_core.registry import ENCODERS


@ENCODERS.register("bag")
class Bag(TextEncoderOptions):
    """Weighted sum of the vectors of words and n-grams, and a layer norm; the order of words does not matter.

    Weights are learned, too. They start at the inverse document frequency.

    Source: Wieting et al. 2016, "Towards universal paraphrastic sentence embeddings", arXiv:1511.08198, its average of
    words. Differences: n-grams are added as in Bojanowski et al. 2017, arXiv:1607.04606; weights and the layer norm.
    """

    features: int = Field(256, ge=2, le=8192)
    """Width of a vector, and of the output. Units."""
    dropout: float = Field(0.1, ge=0, le=0.9)
    """Probability of a feature to be dropped in training; views give the noise. SimCSE: 0.1. Fraction."""

    def build_for_texts(self, processor: TextProcessor) -> Encoder:
        """Build a fresh encoder for a vocabulary."""
        network = _Bag(processor.layout, processor.idf, self.features, self.dropout)
        return Encoder(network, self.features)


class _Bag(nn.Module):
    def __init__(self, layout: TextLayout, idf: Tensor, features: int, dropout: float) -> None:
        super().__init__()
        self.layout = layout
        # The sum of the vectors of a text is then about as long as its weights are together.
        self.vectors = nn.Parameter(torch.randn(layout.words + layout.buckets, features) / features**0.5)
        self.weights = nn.Parameter(idf.detach().clone())
        self.dropout = KeyedDropout(dropout, layer=0)
        self.norm = nn.LayerNorm(features)

    def forward(self, views: Tensor) -> Tensor:
        ids = self.layout.word_ids(views)
        if self.layout.buckets:
            ngrams = self.layout.ngram_ids(views)
            # Bucket 1 follows the last word.
            ids = torch.cat([ids, torch.where(ngrams > 0, ngrams + self.layout.words - 1, 0)], dim=1)
        weights = self.weights[ids]
        summed = functional.embedding_bag(ids, self.vectors, per_sample_weights=weights, mode="sum", padding_idx=0)
        normed: Tensor = self.norm(self.dropout(summed, self.layout.noise_keys(views)))
        return normed
