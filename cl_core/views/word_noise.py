"""Views of texts with words left out, masked, or in another order."""

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from cl_core.columns import Batch, SamplePool
from cl_core.modalities._processor import Processor
from cl_core.modalities._text_processor import TextProcessor
from cl_core.modalities._word_finder import MASKED, most_words, word_numbers
from cl_core.registry import VIEWS
from cl_core.rng import SampleRng
from cl_core.views import Views
from cl_core.views._noise_keys import with_noise_keys

_BLANK = 0x20
_DRAWS = 2


@VIEWS.register("word_noise")
class WordNoiseViews(Views):
    """Two views, each the text with some words deleted, masked or swapped, independently; dropout comes on top.

    A text always keeps one of its words. A masked word counts as one that is not in the vocabulary, without n-grams.

    Source: Wei and Zou 2019, "EDA: Easy data augmentation", arXiv:1901.11196, for deletion and swaps; masking is that
    of Devlin et al. 2019, arXiv:1810.04805. Differences: a swap is of neighbors.
    """

    modalities: ClassVar[tuple[str, ...]] = ("text",)
    count: ClassVar[int] = 2

    delete: float = Field(0.1, ge=0, le=0.9, title="Deleted words")
    """Probability of a word to be deleted. EDA: 0.1. Fraction."""
    mask: float = Field(0.1, ge=0, le=0.9, title="Masked words")
    """Probability of a word to be masked. BERT: 0.15. Fraction."""
    swap: float = Field(0.1, ge=0, le=1, title="Swapped words")
    """Probability of a word to change places with the next one. Encoders without order, such as bag, do not see it.
    Fraction."""
    noisy: Literal["one", "both"] = "both"
    """Views with such noise; the other is the text itself."""

    @model_validator(mode="after")
    def _leaves_words(self) -> Self:
        if self.delete + self.mask > 0.9:
            raise ValueError(
                f"delete {self.delete:g} and mask {self.mask:g} are more than 0.9 together, which leaves too little of "
                "a text; lower one of them"
            )
        return self

    def __call__(self, rows: Batch, *, rng: SampleRng, processor: Processor, pool: SamplePool) -> tuple[Tensor, ...]:
        """Make the views of a batch; see `Views`."""
        assert isinstance(processor, TextProcessor), "the policy is refused for other modalities"
        (texts,) = rows
        number = word_numbers(processor.finder.where_words_are(texts))
        made = []
        for view in range(self.count):
            noisy = texts if view == 0 and self.noisy == "one" else self._noisy(texts, number, rng, view)
            made.append(with_noise_keys(processor((noisy,)), rng, stream=view))
        return tuple(made)

    def _noisy(self, texts: Tensor, number: Tensor, rng: SampleRng, view: int) -> Tensor:
        """Return (B, L) texts with noise; `number` is (B, L), which word each byte is one of, from 1."""
        most = most_words(texts.shape[1])
        # The first number of a stream is the noise key; each word has the next two.
        draws = torch.from_numpy(rng.uniforms(stream=view, count=1 + _DRAWS * most)[:, 1:]).to(texts.device)
        lost, swapped = draws.reshape(len(texts), most, _DRAWS).unbind(2)
        count = number.amax(1, keepdim=True)
        order = torch.arange(most, device=texts.device)
        # Of the words of a text, that with the greatest number stays.
        greatest = torch.where(order < count, lost, -1.0).argmax(1, keepdim=True)
        lost = lost.scatter(1, greatest, 1.0).gather(1, (number - 1).clamp(min=0))
        noisy = torch.where((number > 0) & (lost < self.delete + self.mask), MASKED, texts)
        noisy = torch.where((number > 0) & (lost < self.delete), _BLANK, noisy)
        if self.swap:
            moves = (swapped < self.swap) & (order + 1 < count)
            noisy = noisy.gather(1, _swapped(number, order + 1.5 * moves))
        return noisy.byte()


def _swapped(number: Tensor, rank: Tensor) -> Tensor:
    """Return (B, L) the bytes of each text in their new order: words by (B, W) rank, what is between them in place."""
    place = rank.argsort(dim=1, stable=True).argsort(1)
    begun = number.cummax(1).values
    of_word = 2 * place.gather(1, (number - 1).clamp(min=0))
    return torch.where(number > 0, of_word, 2 * begun - 1).argsort(dim=1, stable=True)
