"""The columns of the tables that ingestion works with: inputs to sort, what a source lists, and the index of inputs."""

import pyarrow as pa

from cl_core.data.snapshot import ID_BYTES

MOMENTS = 6

# The first four columns decide the order, so that it never depends on the order of arrival.
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
# The same without the payload, which an earlier snapshot holds.
UNCHANGED_INPUTS = pa.schema([field for field in INPUTS if field.name != "image"])

LISTING = pa.schema(
    [
        pa.field("name", pa.binary(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("split", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
    ]
)
# What is known of each listed input, so that the next ingestion need not open it; sorted by name.
INPUT_INDEX = pa.schema(
    [
        pa.field("name", pa.binary(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("reason", pa.string()),  # Null for an input that can be decoded; else the columns after `detail` are.
        pa.field("detail", pa.string()),
        *(
            pa.field(name, INPUTS.field(name).type)
            for name in ("id", "format", "width", "height", "channels", "moments")
        ),
    ]
)
