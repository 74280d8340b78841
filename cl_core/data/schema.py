"""The files of a snapshot and of a training cache: their columns, and how large their pieces are."""

from typing import Any

import pyarrow as pa

FORMAT_VERSION = 1  # Part of every digest: raise it when the same content should count as another snapshot.

SPLITS = ("test", "train")
ID_BYTES = 32

GROUP_ROWS = 1024
GROUP_BYTES = 1 << 25  # One row costs its whole group, and more than 2 GB in one group breaks Arrow's offsets.
FILE_BYTES = 1 << 28

ROWS = pa.schema(
    [
        pa.field("id", pa.binary(ID_BYTES), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("label", pa.string()),
    ]
)
# Encoded images do not compress, have no repeats, and their least and greatest say nothing but bloat the footer.
ROWS_SETTINGS: dict[str, Any] = {"compression": "NONE", "use_dictionary": ["label"], "write_statistics": ["id"]}

SOURCES_TABLE = pa.schema(
    [
        pa.field("id", pa.binary(ID_BYTES), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
    ]
)
QUARANTINE_TABLE = pa.schema(
    [
        pa.field("origin", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)
TEXT_SETTINGS: dict[str, Any] = {"compression": "ZSTD", "use_dictionary": ["split", "reason"]}

# What ingestion sorts. The first four columns decide the order, so that it never depends on the order of arrival.
MOMENTS = 6
INPUTS = pa.schema(
    [
        pa.field("id", pa.binary(ID_BYTES), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),  # Empty without one.
        pa.field("image", pa.binary(), nullable=False),
        pa.field("format", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("channels", pa.int8(), nullable=False),
        pa.field("moments", pa.binary(8 * MOMENTS), nullable=False),  # int64: sums of R, G, B, then of their squares.
    ]
)
# The same without the payload, where an earlier snapshot has it.
RECALLED = pa.schema([field for field in INPUTS if field.name != "image"])

# What a source lists, and what is noted of each input so that the next ingestion need not open it; sorted by name.
LISTING = pa.schema(
    [
        pa.field("name", pa.binary(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("split", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
    ]
)
NOTES = pa.schema(
    [
        pa.field("name", pa.binary(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("reason", pa.string()),  # Null for an input that can be decoded; the fields after `detail`, else.
        pa.field("detail", pa.string()),
        *(
            pa.field(name, INPUTS.field(name).type)
            for name in ("id", "format", "width", "height", "channels", "moments")
        ),
    ]
)


def cache_schema(shape: tuple[int, int, int]) -> pa.Schema:
    """Columns of a training cache: raw uint8 pixels (H, W, C) of one `shape`, and the class's index or -1."""
    return pa.schema(
        [
            pa.field("id", pa.binary(ID_BYTES), nullable=False),
            pa.field("image", pa.binary(shape[0] * shape[1] * shape[2]), nullable=False),
            pa.field("label", pa.int32(), nullable=False),
        ],
        metadata={"shape": ",".join(map(str, shape))},
    )


CACHE_SETTINGS: dict[str, Any] = {"compression": "NONE", "use_dictionary": False, "write_statistics": False}
