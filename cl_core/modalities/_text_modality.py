"""What modalities of texts share: their options and their processor, and what is known of texts without training."""

import hashlib
import unicodedata
from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cl_core.modalities import ArraySpec, Modality, PayloadInfo, Rejected, Specs
from cl_core.modalities._payloads import IDENTITY_BYTES
from cl_core.modalities._text_payloads import text_of_payload
from cl_core.modalities._text_profile import MOST_READ, STEP, TextProfiler, measure, share_longer
from cl_core.registry import Component

if TYPE_CHECKING:
    from torch import Tensor

    from cl_core.columns import Rows, Split
    from cl_core.modalities._processor import Processor
    from cl_core.modalities._text_processor import TextProcessor

MOST_BUCKETS = 1 << 22

_BASELINE_COLUMNS = 2048
_TEXTS_AT_ONCE = 512
_LARGE_SHARE = 0.05
_LARGE_UNKNOWN_SHARE = 0.1


class TextOptions(Component):
    """What a text becomes, and how its words are known."""

    length: int = Field(256, ge=STEP, le=MOST_READ, multiple_of=STEP)
    """Bytes that are read of a text, from its beginning; the rest is cut off. A letter of English is a byte, of Russian
    two, of Chinese three. Bytes."""
    vocabulary: int = Field(30_000, ge=1, le=1_000_000)
    """Words that have a vector of their own, at most: those in the most training texts. Words."""
    least_texts: int = Field(2, ge=1, le=1_000_000, title="Minimum texts of a word")
    """Training texts that a word of the vocabulary is in. Texts."""
    buckets: int = Field(65_536, ge=0, le=MOST_BUCKETS, title="Buckets of n-grams")
    """Vectors that the n-grams of 3 to 5 bytes share; which one an n-gram has is decided by its hash. N-grams know
    parts of words that are not in the vocabulary, and scripts without spaces. 0 is off. Buckets."""


class TextModality(TextOptions, Modality):
    """Texts of any language in UTF-8, one or more in a payload. A model takes one, and finds its words itself."""

    query: ClassVar[str] = "a file with one text in UTF-8"
    baseline: ClassVar[str] = "tf_idf"
    is_symbolic: ClassVar[bool] = True
    fitted_options: ClassVar[tuple[str, ...]] = ("vocabulary", "least_texts", "buckets")

    def inspect(self, payload: bytes, *, fingerprint: bool) -> PayloadInfo:
        """Check that a payload is a text, and measure it; see `Modality`."""
        del fingerprint
        parts = self.texts_of(payload)
        return PayloadInfo(hashlib.sha256(payload).digest(), "UTF-8", b"".join(map(measure, map(len, parts))), None)

    def identities(self, payload: bytes) -> tuple[bytes, ...]:
        """Return a hash of each text that identifies its sample, without what is a matter of form.

        That is letter case, white space and Unicode form.
        """
        texts = zip(self.columns, self.parts(payload), strict=True)
        return tuple(_hash_of(text) for kind, text in texts if kind.identifies)

    def texts_of(self, payload: bytes) -> tuple[bytes, ...]:
        """Return the text of each column.

        Raises:
            Rejected: When one is none, which is named where there are several.
        """
        parts = self.parts(payload)
        for kind, part in zip(self.columns, parts, strict=True):
            try:
                text_of_payload(part)
            except Rejected as rejection:
                if len(parts) == 1:
                    raise
                raise Rejected(rejection.reason, f"{kind.name} text: {rejection.detail}") from rejection
        return parts

    def profiler(self) -> TextProfiler:
        """Return a profiler of lengths; see `Modality`."""
        return TextProfiler()

    def array_specs(self, content: Mapping[str, Any]) -> Specs:
        """Return (length,) uint8 of each column."""
        del content
        return (ArraySpec("uint8", (self.length,)),) * len(self.columns)

    def known_arrays(self) -> Specs:
        """Return (length,) uint8 of each column."""
        return self.array_specs({})

    def describe(self, arrays: Specs) -> str:
        """Return the length, such as: texts of at most 256 bytes."""
        return f"{self.unit}s of at most {_length(arrays):,} bytes"

    def asked_for(self) -> str:
        """Return the length, such as: texts of at most 256 bytes."""
        return self.describe(self.known_arrays())

    def taking(self, arrays: Specs) -> Self:
        """Return the modality with the length of an array; see `Modality`."""
        if [(dtype, len(shape)) for dtype, shape in arrays] != [("uint8", 1)] * len(self.columns):
            raise ValueError(
                f"it takes {' and '.join(f'{dtype} {shape}' for dtype, shape in arrays)}, not {self.unit}s"
            )
        return self.model_copy(update={"length": arrays[0].shape[0]})

    def decode(self, payload: bytes, arrays: Specs) -> "Rows":
        """Return the bytes of each text, cut off behind the last character that fits; see `Modality`."""
        return tuple(_cut_off(text, _length(arrays)) for text in self.texts_of(payload))

    def fit_processor(self, train: "Split", content: Mapping[str, Any]) -> "TextProcessor":
        """Return the vocabulary of the training split, and how rare its words and n-grams are."""
        del content
        from cl_core.modalities._text_vocabulary import fit_texts

        options = {name: getattr(self, name) for name in self.fitted_options}
        columns = train.columns.by_name.values()
        (length,) = next(iter(columns)).shape
        return fit_texts(chain.from_iterable(one.blocks(_TEXTS_AT_ONCE) for one in columns), length, **options)

    def processor(self, arrays: Specs, state: Mapping[str, "Tensor"]) -> "TextProcessor":
        """Return the processor with the vocabulary that `state` has; the length of texts may be another."""
        from cl_core.modalities._text_processor import TextProcessor

        pages, letters, words, idf = (
            state[name].numpy() for name in ("finder.pages", "finder.letters", "vocabulary", "idf")
        )
        return TextProcessor(
            _length(arrays), words, idf, tables=(pages, letters), unknown_share=float(state["unknown_share"])
        )

    def example_processor(self, arrays: Specs) -> "TextProcessor":
        """Return a processor without a word in its vocabulary, and as many buckets as the options say."""
        from cl_core.modalities._text_vocabulary import fit_texts

        return fit_texts([], _length(arrays), **{name: getattr(self, name) for name in self.fitted_options})

    def baseline_features(self, rows: "Rows", processor: "Processor") -> NDArray[np.float32]:
        """Return TF-IDF of the words of the vocabulary, in at most 2,048 columns."""
        import torch

        from cl_core.modalities._text_processor import TextProcessor
        from cl_core.modalities._tf_idf import tf_idf

        assert isinstance(processor, TextProcessor), "a modality gets its own processor"
        with torch.inference_mode():
            ids = processor.layout.word_ids(processor(tuple(map(torch.from_numpy, rows)))).numpy()
        return tf_idf(ids, processor.idf.numpy(), columns=min(_BASELINE_COLUMNS, len(processor.vocabulary)))

    def facts(self, content: Mapping[str, Any]) -> dict[str, str]:
        """Return how long texts are, and how many are longer than a model reads."""
        texts = sum(content["text_lengths"].values())
        longer = share_longer(content, self.length)
        return {
            "bytes of a text": f"{content['text_bytes'] / max(1, texts):,.0f} on average",
            "texts that are cut off": f"{longer:.2%}, those of more than {self.length:,} bytes",
        }

    def warnings(self, content: Mapping[str, Any]) -> list[str]:
        """Warn where many texts are longer than a model reads."""
        longer = share_longer(content, self.length)
        sentence = (
            f"{longer:.0%} of the texts have more than {self.length:,} bytes, and what follows is not read; raise "
            "data.modality_options.length, or cut texts into parts"
        )
        return [sentence] if longer > _LARGE_SHARE else []

    def fitted_notes(self, state: Mapping[str, "Tensor"]) -> tuple[list[str], list[str]]:
        """Return the share of the words of the training texts that are not in the vocabulary; warn of a large one."""
        share, keys = float(state["unknown_share"]), state["vocabulary"]
        words = int((keys >= 0).sum())
        fact = f"the vocabulary has {words:,} words; {share:.2%} of the words of the training texts are not in it"
        warning = (
            f"{share:.0%} of the words of the training texts are not in the vocabulary; raise "
            "data.modality_options.vocabulary, or lower least_texts"
        )
        return [fact], [warning] if share > _LARGE_UNKNOWN_SHARE else []


def _length(arrays: Specs) -> int:
    """Return the bytes that are read of a text."""
    (length,) = arrays[0].shape
    return length


def _cut_off(text: bytes, length: int) -> NDArray[np.uint8]:
    # A byte of the form 10xxxxxx continues a character.
    while length < len(text) and text[length] >> 6 == 0b10:
        length -= 1
    return np.frombuffer(text[:length], np.uint8)


def _hash_of(payload: bytes) -> bytes:
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = text_of_payload(payload)  # It says what is wrong.
    normal = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    return hashlib.sha256(" ".join(normal.split()).encode()).digest()[:IDENTITY_BYTES]
