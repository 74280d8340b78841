"""Groups of samples that no split parts: by a rule, by copies, and by looking alike.

What is linked is one group: samples whose rule names the same group, groups with a copy of the same content, and
near-duplicates. A group is drawn by the hash of its name, or of its content where it has no name: never by its size or
the order of the inputs, so that it stays where it is when samples are added to it.
"""

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cl_core.data.near_duplicates import merged, near_duplicate_groups
from cl_core.data.snapshot import ID_BYTES, SPLITS
from cl_core.data.sources import RawSample, SourceEntry
from cl_core.errors import DataError
from cl_core.specs import DataSpec, GroupRule

_SOURCE_SPLITS = ("", *SPLITS)


class SampleGroup(NamedTuple):
    """The group of a sample."""

    number: int  # Among all groups.
    tag: int  # 64 bits of its hash, by which held-out groups are chosen.
    split: str  # Of its samples for which the source names none.


class SplitGroups:
    """Take every sample, then draw a split for each group. 73 bytes are kept of each input."""

    def __init__(self, spec: DataSpec) -> None:
        self._spec = spec
        self._rule = GroupRule.parse(spec.group) if spec.group else GroupRule()
        self._ids, self._keys, self._looks, self._splits = bytearray(), bytearray(), bytearray(), bytearray()
        self._has_look = bytearray()
        self._example = ""
        self._without_name = 0

    def add(self, sample: bytes, source: SourceEntry | RawSample, look: bytes | None) -> None:
        """Take the id of an input, where it comes from, and its perceptual hash, if it has one."""
        group = self._rule.of_origin(source.origin)
        if self._rule.column and isinstance(source, RawSample):
            group = source.group
        if group is None and self._spec.group:
            self._without_name += 1
            self._example = self._example or source.origin
        self._ids += sample
        self._keys += sample if group is None else hashlib.sha256(f"group {group}".encode()).digest()
        self._looks += look or bytes(8)
        self._has_look.append(look is not None)
        self._splits.append(_SOURCE_SPLITS.index(source.split))

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
        ids, at = np.unique(np.frombuffer(bytes(self._ids), f"S{ID_BYTES}"), return_inverse=True)
        keys, key_at = np.unique(np.frombuffer(bytes(self._keys), f"S{ID_BYTES}"), return_inverse=True)
        # Members of a group are contents, then keys. A content without a name has its own id as key.
        group = merged(np.arange(len(ids) + len(keys)), at, len(ids) + key_at)
        if self._spec.near_duplicates_together:
            group = self._with_near_duplicates(group, at)
        _, number = np.unique(group[: len(ids)], return_inverse=True)
        of_key = np.zeros(len(keys), np.int64)
        of_key[key_at] = number[at]
        named = np.zeros(len(keys), bool)
        named[key_at] = np.frombuffer(bytes(self._ids), f"S{ID_BYTES}") != keys[key_at]
        words = np.frombuffer(keys.tobytes(), ">u8").reshape(-1, 4).astype(np.uint64)
        # The representative: a name before a content, then by another word than the one that draws, so that large
        # groups are drawn like small ones.
        order = np.lexsort((words[:, 1], ~named, of_key))
        _, first = np.unique(of_key[order], return_index=True)
        chosen = words[order[first]]
        is_test = chosen[:, 0] < np.uint64(int(self._spec.test_share * 2**64))
        given = np.frombuffer(bytes(self._splits), np.uint8)
        train, test = (np.unique(number[at[given == _SOURCE_SPLITS.index(split)]]) for split in ("train", "test"))
        is_test[train], is_test[test] = False, True  # What the source says comes first.
        in_both = np.intersect1d(train, test).tolist()
        drawn = bool((given == 0).any())
        return DrawnGroups(ids, number, is_test, chosen[:, 2], in_both, drawn, self._without_name)

    def _with_near_duplicates(self, group: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int64]:
        rows = np.flatnonzero(np.frombuffer(bytes(self._has_look), bool))
        looks = np.frombuffer(bytes(self._looks), ">u8").astype(np.uint64)[rows]
        alike = near_duplicate_groups(looks)
        if alike is None:
            raise DataError(
                f"data.near_duplicates_together: too many of the {len(rows):,} inputs are alike to compare them all; "
                "leave it off, and keep them together by data.group"
            )
        _, first, inverse = np.unique(alike, return_index=True, return_inverse=True)
        return merged(group, at[rows], at[rows[first[inverse]]])


class DrawnGroups:
    """The groups, and their splits."""

    def __init__(
        self,
        ids: NDArray[np.bytes_],
        number: NDArray[np.int64],
        is_test: NDArray[np.bool_],
        tags: NDArray[np.uint64],
        named_in_both: list[int],
        drawn: bool,
        unnamed: int,
    ) -> None:
        self._ids = ids
        self._number = number
        self._is_test = is_test
        self._tags = tags
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
        # Padded: numpy's byte strings have no trailing zeros, and compare as if they had.
        number = int(self._number[np.searchsorted(self._ids, np.bytes_(sample))])
        return SampleGroup(number, int(self._tags[number]), "test" if self._is_test[number] else "train")
