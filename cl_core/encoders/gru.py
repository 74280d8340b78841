"""A recurrent network over the words of a text, in both directions."""

import torch
from pydantic import Field
from torch import Tensor, nn

from cl_core.encoders import Encoder
from cl_core.encoders._keyed_dropout import KeyedDropout
from cl_core.encoders._texts import TextEncoderOptions
from cl_core.modalities._text_processor import PADDING, TextLayout, TextProcessor
from cl_core.registry import ENCODERS


@ENCODERS.register("gru")
class GRU(TextEncoderOptions):
    """Gated recurrent units, forward and backward; the features are the last states of both.

    It reads words, and no n-grams: words that are not in the vocabulary are all one to it. The backward network begins
    at the last word, never at padding, so the features do not depend on the length that texts are padded to.

    Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder", arXiv:1406.1078, Sec. 2.3, in
    torch's form; both directions as in Schuster and Paliwal 1997.
    """

    width: int = Field(128, ge=1, le=4096, title="Width of a word")
    """Of the vector of a word. Units."""
    hidden: int = Field(128, ge=1, le=4096, title="Hidden width")
    """Of the state of each direction; there are twice as many features. Units."""
    most_words: int = Field(64, ge=1, le=4096, title="Maximum words")
    """Words that are read of a text, from its beginning. Time grows with them, however short texts are. Words."""
    dropout: float = Field(0.1, ge=0, le=0.9)
    """Probability of a feature to be dropped in training, of words and of the output; views give the noise.
    Fraction."""

    def build_for_texts(self, processor: TextProcessor) -> Encoder:
        """Build a fresh encoder for a vocabulary."""
        return Encoder(_BothDirections(self, processor.layout), 2 * self.hidden)


class _BothDirections(nn.Module):
    def __init__(self, options: GRU, layout: TextLayout) -> None:
        super().__init__()
        self.layout, self.most_words = layout, options.most_words
        self.vectors = nn.Embedding(layout.words, options.width, padding_idx=PADDING)
        self.forwards, self.backwards = (_Direction(options.width, options.hidden) for _ in ("forwards", "backwards"))
        self.of_words, self.of_features = (KeyedDropout(options.dropout, layer=layer) for layer in range(2))

    def forward(self, views: Tensor) -> Tensor:
        keys, ids = self.layout.noise_keys(views), self.layout.word_ids(views)[:, : self.most_words]
        words = self.of_words(self.vectors(ids), keys)
        lengths = (ids != PADDING).sum(1, keepdim=True)
        last = (lengths - 1).clamp(min=0)
        # Behind the first word of a text its order does not matter: no state is read from there.
        order = (last - torch.arange(ids.shape[1], device=ids.device)).clamp(min=0)
        states = self.forwards(words), self.backwards(words.gather(1, order[..., None].expand(words.shape)))
        ends = [state.gather(1, last[..., None].expand(-1, 1, state.shape[2]))[:, 0] for state in states]
        # A text without words has no state: its features are zeros.
        features: Tensor = self.of_features(torch.cat(ends, dim=1) * (lengths > 0), keys)
        return features


class _Direction(nn.Module):
    """The weights of `nn.GRU`. That module keeps them twice, of which torch.export warns."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden, bound = hidden, hidden**-0.5
        for name, shape in {
            "weight_ih_l0": (3 * hidden, width),
            "weight_hh_l0": (3 * hidden, hidden),
            "bias_ih_l0": (3 * hidden,),
            "bias_hh_l0": (3 * hidden,),
        }.items():
            self.register_parameter(name, nn.Parameter(nn.init.uniform_(torch.empty(shape), -bound, bound)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the state after each input, (N, T, H); the first one is zero."""
        first, weights = inputs.new_zeros(1, inputs.shape[0], self.hidden), tuple(self.parameters())
        states: Tensor = torch.gru(inputs, first, weights, True, 1, 0.0, False, False, True)[0]
        return states
