"""Groups of samples that no split parts: by a rule, by copies, by what identifies them, and by looking alike.

What is linked is one group: samples whose rule names the same group, groups with a copy of the same content, samples
with an identity in common, and near-duplicates. A group is drawn by the hash of its name, of an identity where it has
none, or of its content: never by its size or the order of the inputs, so that it stays where it is when samples are
added to it.
"""

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cl_core.data.connected import I64, U64, Numbers, links, merged, numbered
from cl_core.data.near_duplicates import near_duplicate_groups
from cl_core.data.snapshot import ID_BYTES, SPLITS
from cl_core.data.sources import RawSample, SourceEntry
from cl_core.errors import DataError
from cl_core.modalities._payloads import IDENTITY_BYTES
from cl_core.specs import DataSpec, GroupRule

_SOURCE_SPLITS = ("", *SPLITS)
_ID = f"S{ID_BYTES}"


class SampleGroup(NamedTuple):
    """The group of a sample."""

    number: int  # Among all groups.
    tag: int  # 64 bits of its hash, by which held-out groups are chosen.
    split: str  # Of its samples for which the source names none.
    tested: bytes  # Id of a sample of the test split that is the same thing; empty where there is none.


class SplitGroups:
    """Take every sample, then draw a split for each group, once.

    75 bytes are kept of each input, and 8 of an identity; drawing holds at most 200 of an input.
    """

    def __init__(self, spec: DataSpec) -> None:
        self._spec = spec
        self._rule = GroupRule.parse(spec.group) if spec.group else GroupRule()
        self._ids, self._keys, self._looks, self._splits = bytearray(), bytearray(), bytearray(), bytearray()
        self._has_look, self._identities, self._identity_counts = bytearray(), bytearray(), bytearray()
        self._example = ""
        self._without_name = 0

    def add(self, sample: bytes, source: SourceEntry | RawSample, look: bytes | None, identities: bytes = b"") -> None:
        """Take the id of an input, where it comes from, its perceptual hash, if it has one, and its identities."""
        group = self._rule.of_origin(source.origin)
        if self._rule.column and isinstance(source, RawSample):
            group = source.group
        if group is None and self._spec.group:
            self._without_name += 1
            self._example = self._example or source.origin
        self._ids += sample
        name = identities[:IDENTITY_BYTES] if group is None else f"group {group}".encode()
        self._keys += hashlib.sha256(name).digest() if name else sample
        self._looks += look or bytes(8)
        self._has_look.append(look is not None)
        self._splits.append(_SOURCE_SPLITS.index(source.split))
        self._identities += identities
        self._identity_counts.append(len(identities) // IDENTITY_BYTES)

    def draw(self) -> "DrawnGroups":
        """Draw the splits.

        Raises:
            DataError: When the rule names a group for no input, or too many inputs are alike to compare them all.
        """
        if self._spec.group and self._without_name == len(self._splits) > 0:
            raise DataError(
                f"data.group: {self._spec.group!r} names a group for none of the {len(self._splits):,} inputs, for "
                f"example {self._example}; correct it, or leave it empty"
            )
        # First, while there is nothing else in memory that grows with the inputs.
        alike = self._near_duplicates() if self._spec.near_duplicates_together else None
        has_name = np.frombuffer(self._ids, _ID) != np.frombuffer(self._keys, _ID)
        # What is sorted once is not needed any more.
        ids, at = numbered(np.frombuffer(self._ids, _ID))
        self._ids = bytearray()
        keys, key_at = numbered(np.frombuffer(self._keys, _ID))
        self._keys = bytearray()
        # Members of a group are contents, then keys. A content without a name has its own id as key.
        group = merged(np.arange(len(ids) + len(keys), dtype=at.dtype), at, len(ids) + key_at)
        owners = np.repeat(at, np.frombuffer(self._identity_counts, np.uint8))
        identities = numbered(np.frombuffer(self._identities, np.uint64))[1]
        self._identities, self._identity_counts = bytearray(), bytearray()
        group = merged(group, *links(owners, identities))
        if alike is not None:
            rows, number_of_look = alike
            group = merged(group, *links(at[rows], number_of_look))
        number = numbered(group[: len(ids)])[1]
        of_key, named = np.zeros(len(keys), number.dtype), np.zeros(len(keys), bool)
        of_key[key_at] = number[at]
        named[key_at] = has_name
        words = keys.view(">u8").reshape(-1, 4)
        # The representative: a name before a content, then by another word than the one that draws, so that large
        # groups are drawn like small ones.
        order = np.lexsort((words[:, 1], ~named, of_key))
        _, first = np.unique(of_key[order], return_index=True)
        draws, tags = (words[order[first], word].astype(np.uint64) for word in (0, 2))
        is_test = draws < np.uint64(int(self._spec.test_share * 2**64))
        given = np.frombuffer(self._splits, np.uint8)
        train, test = (np.unique(number[at[given == _SOURCE_SPLITS.index(split)]]) for split in ("train", "test"))
        is_test[train], is_test[test] = False, True  # What the source says comes first.
        in_both = np.intersect1d(train, test).tolist()
        drawn = bool((given == 0).any())
        tested = np.zeros(len(ids), bool)
        tested[at[np.where(given == 0, is_test[number[at]], given == _SOURCE_SPLITS.index("test"))]] = True
        same = _same_in_test(owners, identities, tested)
        return DrawnGroups(ids, number, is_test, tags, same, in_both, drawn, self._without_name)

    def _near_duplicates(self) -> tuple[I64, I64]:
        """Return which inputs have a perceptual hash, and the group of each among near-duplicates: (K,) both."""
        rows = np.flatnonzero(np.frombuffer(self._has_look, bool))
        looks = np.frombuffer(self._looks, ">u8")[rows].astype(np.uint64)
        alike = near_duplicate_groups(looks)
        if alike is None:
            raise DataError(
                f"data.near_duplicates_together: too many of the {len(rows):,} inputs are alike to compare them all; "
                "leave it off, and keep them together by data.group"
            )
        return rows, alike


def _same_in_test(owners: Numbers, key: Numbers, tested: NDArray[np.bool_]) -> Numbers:
    """Return for each content one that is tested and has an identity in common with it: (N,), -1 for none.

    `owners` and `key` are (K,), the content that has each identity, and its number; `tested` is (N,). What is tested
    itself has none.
    """
    found, of_key = (np.full(size, -1, owners.dtype) for size in (len(tested), len(key)))
    is_tested = tested[owners]
    of_key[key[is_tested]] = owners[is_tested]
    trained = ~is_tested & (of_key[key] >= 0)
    found[owners[trained]] = of_key[key[trained]]
    return found


class DrawnGroups:
    """The groups, and their splits."""

    def __init__(
        self,
        ids: NDArray[np.bytes_],
        number: Numbers,
        is_test: NDArray[np.bool_],
        tags: U64,
        same_in_test: Numbers,
        named_in_both: list[int],
        drawn: bool,
        unnamed: int,
    ) -> None:
        self._ids = ids
        self._place = 0  # In the ids, of the sample that is asked for next.
        self._number = number
        self._is_test = is_test
        self._tags = tags
        self._same_in_test = same_in_test
        self.named_in_both = named_in_both
        """Groups of which the source has samples in both splits."""
        self.unnamed = unnamed
        """Inputs for which the rule names no group; 0 without a rule."""
        self.drawn = drawn
        """Whether any sample's split was drawn, not named by the source."""

    def __len__(self) -> int:
        return len(self._is_test)

    def of(self, sample: bytes) -> SampleGroup:
        """Return the group of a sample that was taken."""
        # Padded: numpy's byte strings have no trailing zeros, and compare as if they had. Samples are asked for in the
        # order of their ids, mostly: then the next one is a step away.
        place, wanted = self._place, np.bytes_(sample)
        if place >= len(self._ids) or self._ids[place] != wanted:
            place = int(np.searchsorted(self._ids, wanted))
        self._place = place + 1
        number, same = int(self._number[place]), int(self._same_in_test[place])
        split = "test" if self._is_test[number] else "train"
        tested = self._ids[same].ljust(ID_BYTES, b"\0") if same >= 0 else b""
        return SampleGroup(number, int(self._tags[number]), split, tested)
