"""Texts in UTF-8, such as titles, sentences and messages."""

import hashlib
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from pydantic import Field

from cl_core.modalities import ArraySpec, ColumnKind, Modality, PayloadInfo, Preview, Rejected, Specs
from cl_core.modalities._payloads import IDENTITY_BYTES
from cl_core.modalities._text_profile import MOST_READ, STEP, TextProfiler, measure, share_longer
from cl_core.registry import MODALITIES

if TYPE_CHECKING:
    from torch import Tensor

    from cl_core.columns import Rows, Split
    from cl_core.modalities._processor import Processor
    from cl_core.modalities._text_processor import TextProcessor

MAX_BYTES = 1 << 20
"""Of a text."""

MOST_BUCKETS = 1 << 22

_BASELINE_COLUMNS = 2048
_TEXTS_AT_ONCE = 512
_SHOWN = 240
_LARGE_SHARE = 0.05
_LARGE_UNKNOWN_SHARE = 0.1
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NOTHING = "(nothing that can be seen)"
# They decide how letters look; other invisible characters may move what is beside them.
_JOINERS = "\u200c\u200d"
_HTML = Markup('<span class="text" dir="auto">{}</span>')


@MODALITIES.register("text")
class Texts(Modality):
    """Texts of any language. A payload is a text in UTF-8. A model finds the words of a text itself."""

    columns: ClassVar[tuple[ColumnKind, ...]] = (
        ColumnKind("text", "uint8", "(N, L) of UTF-8 padded with 0", ragged=True, identifies=True),
    )
    unit: ClassVar[str] = "text"
    query: ClassVar[str] = "a file with one text in UTF-8"
    baseline: ClassVar[str] = "tf_idf"
    evaluation_views: ClassVar[str] = "word_noise"
    is_symbolic: ClassVar[bool] = True
    fitted_options: ClassVar[tuple[str, ...]] = ("vocabulary", "least_texts", "buckets")

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

    def inspect(self, payload: bytes, *, fingerprint: bool) -> PayloadInfo:
        """Check that a payload is a text, and measure it; see `Modality`."""
        del fingerprint
        text_of_payload(payload)
        return PayloadInfo(hashlib.sha256(payload).digest(), "UTF-8", measure(len(payload)), None)

    def identities(self, payload: bytes) -> tuple[bytes, ...]:
        """Return a hash of the text without what is a matter of form: letter case, white space and Unicode form."""
        text = text_of_payload(payload)
        normal = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
        text = " ".join(normal.split())
        return (hashlib.sha256(text.encode()).digest()[:IDENTITY_BYTES],)

    def profiler(self) -> TextProfiler:
        """Return a profiler of lengths; see `Modality`."""
        return TextProfiler()

    def array_specs(self, content: Mapping[str, Any]) -> Specs:
        """Return (length,) uint8."""
        del content
        return (ArraySpec("uint8", (self.length,)),)

    def known_arrays(self) -> Specs:
        """Return (length,) uint8."""
        return self.array_specs({})

    def describe(self, arrays: Specs) -> str:
        """Return the length, such as: texts of at most 256 bytes."""
        ((_, (length,)),) = arrays
        return f"texts of at most {length:,} bytes"

    def asked_for(self) -> str:
        """Return the length, such as: texts of at most 256 bytes."""
        return self.describe(self.known_arrays())

    def taking(self, arrays: Specs) -> Self:
        """Return the modality with the length of an array; see `Modality`."""
        if [(dtype, len(shape)) for dtype, shape in arrays] != [("uint8", 1)]:
            raise ValueError(f"it takes {' and '.join(f'{dtype} {shape}' for dtype, shape in arrays)}, not texts")
        return self.model_copy(update={"length": arrays[0].shape[0]})

    def decode(self, payload: bytes, arrays: Specs) -> "Rows":
        """Return the bytes of a text, cut off behind the last character that fits; see `Modality`."""
        text_of_payload(payload)
        ((_, (length,)),) = arrays
        # A byte of the form 10xxxxxx continues a character.
        while length < len(payload) and payload[length] >> 6 == 0b10:
            length -= 1
        return (np.frombuffer(payload[:length], np.uint8),)

    def fit_processor(self, train: "Split", content: Mapping[str, Any]) -> "TextProcessor":
        """Return the vocabulary of the training split, and how rare its words and n-grams are."""
        del content
        from cl_core.modalities._text_vocabulary import fit_texts

        options = {name: getattr(self, name) for name in self.fitted_options}
        (length,) = train.column.shape
        return fit_texts(train.column.blocks(_TEXTS_AT_ONCE), length, **options)

    def processor(self, arrays: Specs, state: Mapping[str, "Tensor"]) -> "TextProcessor":
        """Return the processor with the vocabulary that `state` has; the length of texts may be another."""
        from cl_core.modalities._text_processor import TextProcessor

        ((_, (length,)),) = arrays
        pages, letters, words, idf = (
            state[name].numpy() for name in ("finder.pages", "finder.letters", "vocabulary", "idf")
        )
        return TextProcessor(length, words, idf, tables=(pages, letters), unknown_share=float(state["unknown_share"]))

    def example_processor(self, arrays: Specs) -> "TextProcessor":
        """Return a processor without a word in its vocabulary, and as many buckets as the options say."""
        from cl_core.modalities._text_vocabulary import fit_texts

        ((_, (length,)),) = arrays
        return fit_texts([], length, **{name: getattr(self, name) for name in self.fitted_options})

    def baseline_features(self, rows: "Rows", processor: "Processor") -> NDArray[np.float32]:
        """Return TF-IDF of the words of the vocabulary, in at most 2,048 columns."""
        import torch

        from cl_core.modalities._text_processor import TextProcessor
        from cl_core.modalities._tf_idf import tf_idf

        assert isinstance(processor, TextProcessor), "a modality gets its own processor"
        with torch.inference_mode():
            ids = processor.layout.word_ids(processor(tuple(map(torch.from_numpy, rows)))).numpy()
        return tf_idf(ids, processor.idf.numpy(), columns=min(_BASELINE_COLUMNS, len(processor.vocabulary)))

    def preview(self, row: "Rows", *, side: int) -> Preview:
        """Return the beginning of the text, in its own direction of writing."""
        del side
        (text,) = row
        return _shown(text[text > 0].tobytes())

    def preview_payload(self, payload: bytes, *, side: int) -> Preview:
        """Return the beginning of the text, in its own direction of writing."""
        del side
        text_of_payload(payload)
        return _shown(payload)

    def payload_of(self, file: bytes) -> bytes:
        """Return the text in a file, without a byte order mark, and without white space around it."""
        return file.removeprefix(BYTE_ORDER_MARK).strip()

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


def text_of_payload(payload: bytes) -> str:
    """Return the text of a payload.

    Raises:
        Rejected: When it is empty, too long, or not UTF-8, or has a NUL, with which texts are padded.
    """
    if len(payload) > MAX_BYTES:
        raise Rejected("too_large", f"it has {len(payload):,} bytes, and at most {MAX_BYTES:,} are read")
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise Rejected("damaged", f"it is not UTF-8: byte {error.start:,} cannot be read ({error.reason})") from error
    if "\0" in text:
        raise Rejected("damaged", f"character {text.index(chr(0)):,} is NUL, with which texts are padded")
    if not (_is_seen(text[:1]) or any(map(_is_seen, text))):
        raise Rejected("empty", "it has no character that can be seen")
    return text


def _is_seen(character: str) -> bool:
    return character.isprintable() and not character.isspace() and character != ""


def _shown(text: bytes) -> Preview:
    """Return a text on one line, without what would change the direction or place of other text."""
    line = " ".join(text.decode(errors="replace").split())
    line = "".join(map(_visible, line[: _SHOWN + 1]))
    line = line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
    return Preview(_HTML.format(line), line or _NOTHING)


def _visible(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    return "" if unicodedata.category(character) == "Cf" else "\N{REPLACEMENT CHARACTER}"
