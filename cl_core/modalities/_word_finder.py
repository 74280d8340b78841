"""Words of texts, found and hashed by tensor operations alone, so that an exported program does it, too."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

MASKED = 0xFF
"""In no UTF-8: a word of such bytes has been masked."""

PRIME = 2**31 - 1
BITS = 31
"""Of a hash; a key is two of them."""
# Of the polynomials whose values are the hashes: two are a word's key, and the third tells words with one key apart.
_BASES = (1_103_515_245, 1_566_083_941, 1_812_433_253)


class WordFinder(nn.Module):
    """Find the words of UTF-8 texts: runs of letters, marks and numbers, in lower case.

    What is not UTF-8 is between words. So is the beginning of a character that ends with the text.

    Args:
        length: Bytes of a text, at most; L may be less.
        pages: (4352,) as `letter_tables` gives it.
        letters: (pages * 256,) as `letter_tables` gives it.
    """

    pages: Tensor
    letters: Tensor
    powers: Tensor

    def __init__(self, length: int, pages: NDArray[np.int16], letters: NDArray[np.int32]) -> None:
        super().__init__()
        self.register_buffer("pages", torch.tensor(pages))
        self.register_buffer("letters", torch.tensor(letters))
        self.register_buffer("powers", torch.tensor([_powers(base, length) for base in _BASES]), persistent=False)

    def forward(self, texts: Tensor) -> Tensor:
        """Return the bytes of words in lower case, 0 between words: (N, L) int32 of (N, L) uint8.

        They are UTF-8, and stay where they are unless a small letter has fewer bytes: what follows then moves forward.
        """
        small, size, size_before = self._characters(texts)
        first = torch.where(size == 1, small, (0xF00 >> size) & 0xFF | small >> 6 * (size - 1).clamp(min=0))
        words = torch.where(size > 0, first, 0)
        gone = torch.zeros_like(words, dtype=torch.bool)
        for number in (1, 2, 3):
            follows = 0x80 | small >> 6 * (size - 1 - number).clamp(min=0) & 0x3F
            words = words + later(torch.where(size > number, follows, 0), number)
            gone = gone | later((size <= number) & (size_before > number), number)
        words = torch.where(texts == MASKED, MASKED, words)
        length = texts.shape[1]
        places = torch.where(gone, length, (~gone).cumsum(1) - 1)
        return words.new_zeros(words.shape[0], length + 1).scatter(1, places, words)[:, :length]

    def where_words_are(self, texts: Tensor) -> Tensor:
        """Return (N, L) bool of (N, L) uint8: whether a byte is one of a word, where it is in the text."""
        _, _, size_before = self._characters(texts)
        inside = texts == MASKED
        for number in range(4):
            inside = inside | later(size_before > number, number)
        return inside

    def hashes(self, words: Tensor, *, count: int) -> Tensor:
        """Hash each word, in order: (N, count, W) int64 below PRIME, 0 where there is no more, of (N, L) as found.

        Hash h of the bytes b(0), b(1), ... is the sum of b(i) * base(h)**i, modulo a prime. There are up to three.
        """
        number = word_numbers(words > 0)
        length = words.shape[1]
        place = torch.arange(length, device=words.device).expand(words.shape)
        start = torch.where((number > 0) & (number != later(number, 1)), place, 0)
        powers = self.powers[:count, place - start.cummax(1).values]
        sums = powers.new_zeros(count, words.shape[0], most_words(length) + 1)
        return (sums.scatter_add(2, number.expand(powers.shape), words * powers)[..., 1:] % PRIME).transpose(0, 1)

    def _characters(self, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the small letter at each first byte of one, its bytes, and those it had before; 0 elsewhere: (N, L).

        Bytes are counted by Table 3-6 of the Unicode Standard: the first has as many leading ones as there are bytes.
        """
        first = texts.int()
        following = [functional.pad(first[:, number:], (0, number)) for number in (1, 2, 3)]
        code, size = torch.where(first < 0x80, first, 0), (first < 0x80).int()
        partial, complete = first, torch.ones_like(first, dtype=torch.bool)
        for number, byte in enumerate(following, 2):
            complete = complete & (byte >> 6 == 0b10)
            partial = partial << 6 | byte & 0x3F
            here = complete & (first >> 7 - number == (1 << number + 1) - 2)
            code = torch.where(here, partial & (1 << 5 * number + 1) - 1, code)
            size = torch.where(here, number, size)
        code = code.clamp(max=0x10FFFF)
        entry = self.letters[self.pages[code >> 8].int() << 8 | code & 0xFF]
        small = code + (entry >> 1)
        bytes_of_small = 1 + (small >= 0x80).int() + (small >= 0x800) + (small >= 0x10000)
        in_word = entry != 0
        return torch.where(in_word, small, 0), torch.where(in_word, bytes_of_small, 0), torch.where(in_word, size, 0)


def most_words(length: int) -> int:
    """Return how many words a text of so many bytes has at most."""
    return (length + 1) // 2


def keys_of(hashes: Tensor) -> Tensor:
    """Return the key of each word, (N, W) int64 of 62 bits, from its first two hashes; 0 where there is none."""
    return hashes[:, 0] << BITS | hashes[:, 1]


def word_numbers(inside: Tensor) -> Tensor:
    """Return which word each byte is one of, from 1; 0 between words: (N, L) int64 of (N, L) bool."""
    starts = inside & ~later(inside, 1)
    return starts.cumsum(1) * inside


def later(values: Tensor, places: int) -> Tensor:
    """Move the values of each row to later places, (N, L): those at the end are lost."""
    return functional.pad(values[:, : values.shape[1] - places], (places, 0))


def _powers(base: int, count: int) -> list[int]:
    return [pow(base, exponent, PRIME) for exponent in range(count)]
