"""Gathering: every input of a source is checked, and joins the sound or the rejected ones."""

from collections.abc import Callable, Iterable, Iterator

from cl_core import failpoints
from cl_core.data.check import Finding, check
from cl_core.data.external_sort import ExternalSort
from cl_core.data.parallel import map_batches
from cl_core.data.schema import SPLITS
from cl_core.data.sources import RawSample, Unreadable
from cl_core.errors import DataError

_BATCH_ROWS = 256
_BATCH_BYTES = 1 << 23

Input = RawSample | Unreadable


def gather(
    given: Iterable[Input],
    *,
    test_share: float,
    sound: ExternalSort,
    rejected: ExternalSort,
    workers: int,
    on_progress: Callable[[int], None],
) -> int:
    """Check all inputs and hand them to two sorts, of `INPUTS` and of `QUARANTINE_TABLE`.

    Args:
        given: Any number of inputs, taken one at a time.
        test_share: Fraction that the content's hash sends to the test split where an input names none.
        sound: Takes the inputs that can be decoded.
        rejected: Takes the others.
        workers: Processes that decode.
        on_progress: Called with the number of inputs checked so far.

    Returns:
        How many inputs there were.
    """
    count = 0
    for batch, findings in map_batches(check, batches(given), workers):
        kept, refused = [], []
        for each, found in zip(batch, findings, strict=True):
            if isinstance(found, Finding):
                assert isinstance(each, RawSample)
                split = each.split or split_by_hash(found.id, test_share)
                kept.append((found.id, split, each.origin, each.label or "", each.payload, *found[1:]))
            else:
                refused.append((each.origin, found.reason, found.detail))
        if kept:
            sound.add(list(zip(*kept, strict=True)))
        if refused:
            rejected.add(list(zip(*refused, strict=True)))
        count += len(batch)
        failpoints.reach("ingest.inputs-checked")
        on_progress(count)
    return count


def split_by_hash(sample: bytes, test_share: float) -> str:
    """The split that a sample's id alone decides: the same for every copy, and in every later snapshot.

    Args:
        sample: (32,) bytes, the sha256 of the content.
        test_share: Fraction of the range of ids that is `test`.
    """
    return "test" if int.from_bytes(sample[:8], "big") < test_share * 2**64 else "train"


def batches(given: Iterable[Input], *, rows: int = _BATCH_ROWS) -> Iterator[list[Input]]:
    """Inputs in lists of at most `rows`, and about 8 MiB.

    Raises:
        DataError: When an input names a split that there is not.
    """
    batch: list[Input] = []
    size = 0
    for each in given:
        batch.append(each)
        if isinstance(each, RawSample):
            if each.split and each.split not in SPLITS:
                raise DataError(
                    f"{each.origin} is in a split named {each.split!r}; a source names {' or '.join(SPLITS)}, "
                    "or leaves the split empty for the content's hash to decide"
                )
            size += len(each.payload)
        if len(batch) == rows or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
