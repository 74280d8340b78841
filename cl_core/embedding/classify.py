"""Classify images by the names of classes, with a model of images and texts: no labeled image is needed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cl_core.artifact_dir import replacing
from cl_core.data.sources import built_source
from cl_core.embedding.batches import prepared_batches
from cl_core.embedding.embeddings_file import EmbeddedRow
from cl_core.embedding.writer import FinishedModel
from cl_core.errors import DataError, InputError
from cl_core.evaluation.prompts import class_vectors, prompts, why_no_template
from cl_core.modalities import Rejected
from cl_core.modalities._model_input import ModelInput, model_row
from cl_core.specs import SourceSpec

_TEXT = "text"


class Classified(NamedTuple):
    """Images with the probabilities of their classes."""

    classes: list[str]
    rows: list[EmbeddedRow]  # The images, in the order of the source.
    probabilities: NDArray[np.float32]  # (N, C), of which each row adds up to 1.
    rejected: list[tuple[str, str, str]]  # Origin, reason and detail of inputs that cannot be decoded.

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) the most probable class of each image."""
        return np.asarray(self.probabilities.argmax(axis=1))


def class_names(text: str) -> list[str]:
    """Return the names in a list such as: cat, dog, bird.

    Raises:
        InputError: When there are fewer than two, or one is there twice.
    """
    names = [name for part in text.split(",") if (name := part.strip())]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"--labels: {twice!r} is there twice; name each class once")
    if len(names) < 2:
        raise InputError(f"--labels: give two classes or more, such as 'cat, dog, bird'; got {text!r}")
    return names


def class_probabilities(
    model: FinishedModel,
    data: SourceSpec,
    classes: list[str],
    templates: Sequence[str],
    *,
    workers: int,
    on_progress: Callable[[int, int], None] = lambda done, inputs: None,
) -> Classified:
    """Return the probability of each class for each image of a source: a softmax over scaled cosines.

    Args:
        model: A model of images and texts.
        data: Where the images are.
        classes: Names of the classes, two or more.
        templates: Texts with {} in place of the name.
        workers: Threads that decode; 0 takes one for each CPU.
        on_progress: Called with the number of inputs done, and the total.

    Raises:
        InputError: When the model takes no texts besides images, or a template has no place for a name.
        DataError: When no input is an image.

    Source: Radford et al. 2021, arXiv:2103.00020, Sec. 3.1.2. Differences: none.
    """
    if (of_texts := model.takes.second) is None or of_texts.modality != _TEXT:
        raise InputError(
            f"{model.uri} takes {model.takes}, and no texts besides; classify with a model of images with texts, whose "
            "data.modality is image_text"
        )
    if problem := next(filter(None, map(why_no_template, templates)), ""):
        raise InputError(f"--templates: {problem}")
    if model.scale is None:
        raise InputError(
            f"{model.uri} was trained with a loss whose cosines are no logits, so it gives no probabilities; train one "
            "with loss clip, or use `cl search --text`"
        )
    vectors = class_vectors(_embedded(model, prompts(classes, {}, templates), of_texts), templates=len(templates))
    source = built_source(data, model.takes.modality)
    total, done = source.number_of_inputs(data.location), 0
    rows, logits, rejected = list[EmbeddedRow](), list[NDArray[np.float32]](), list[tuple[str, str, str]]()
    inputs = source.samples(data.location)
    for batch in prepared_batches(inputs, model.takes, workers=workers, is_done=lambda _: False):
        if batch.rows:
            rows += batch.rows
            logits.append(np.float32(model.scale) * (model.embed(batch.arrays) @ vectors.T))
        rejected += batch.rejected
        done += len(batch.rows) + len(batch.rejected)
        on_progress(done, total)
    if not rows:
        first = f", for example {rejected[0][0]}: {rejected[0][2]}" if rejected else ""
        raise DataError(f"data.location: {data.location} has no image that can be decoded{first}")
    return Classified(classes, rows, _softmax(np.concatenate(logits)), rejected)


def check_table_name(file: Path) -> None:
    """Refuse a file that is neither Parquet nor CSV.

    Raises:
        InputError: When its name ends in neither .parquet nor .csv.
    """
    if file.suffix.lower() not in (".parquet", ".csv"):
        raise InputError(f"output: {file} ends in neither .csv nor .parquet; give a file that does")


def _not_computed(name: str) -> str:
    """Return the name of a file such that a spreadsheet takes it for text and computes nothing."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def write_classified(classified: Classified, file: Path) -> None:
    """Write a table of origins, predicted classes and probabilities: Parquet or CSV, as the file's name says.

    Raises:
        InputError: When its name ends in neither .parquet nor .csv.
        StorageFullError: When the disk is full; an earlier file stays.
    """
    check_table_name(file)
    is_csv = file.suffix.lower() == ".csv"
    write = pa.csv.write_csv if is_csv else pq.write_table
    columns = {
        "origin": [_not_computed(row.origin) if is_csv else row.origin for row in classified.rows],
        "id": [row.id for row in classified.rows],
        "class": [classified.classes[number] for number in classified.predicted],
    }
    table = pa.table(columns)
    for number, name in enumerate(classified.classes):
        table = table.append_column(f"p({name})", pa.array(classified.probabilities[:, number]))
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        write(table, temporary)


def _embedded(model: FinishedModel, texts: list[bytes], takes: ModelInput) -> NDArray[np.float32]:
    try:
        rows = [model_row(text, takes.kind, takes.arrays) for text in texts]
    except Rejected as rejection:
        raise InputError(f"--labels: a name cannot be read ({rejection.detail})") from rejection
    return model.embed(tuple(map(np.stack, zip(*rows, strict=True))), 1)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float32] = (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares
