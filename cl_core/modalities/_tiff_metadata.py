"""TIFF files without their metadata (TIFF 6.0, Sec. 2): the first page with what its pixels need.

Pillow does not read what follows an entry that is broken, such as how values were predicted or which type they have.
So broken text may leave pixels that are wrong, not only none.
"""

import re
import struct

_STARTS = re.compile(rb"II[*+]\0|MM\0[*+]")
_BIG = b"+"
_ORIENTATION = 274
_SHORT = 3
_PIXELS = {
    *(256, 257, 258, 259, 262, 266, 277, 284),  # Size, bits, compression, colors, order of bits and planes.
    *(273, 278, 279, 322, 323, 324, 325),  # Strips and tiles.
    *(292, 293, 317, 347, *range(512, 522), 50674),  # Of single compressions: fax, prediction, JPEG, LERC.
    *(320, 332, 334, 338, 339, 529, 530, 531, 532),  # Palette, inks, opacity, type of values, YCbCr.
}


def is_tiff(payload: bytes) -> bool:
    """Return whether a file begins like TIFF or BigTIFF."""
    return _STARTS.match(payload) is not None


def tiff_without_metadata(payload: bytes, keep_orientation: bool) -> bytes:
    """Return a TIFF file whose directory has fewer entries, at the same place; all else stays as it is.

    A file that does not have its whole directory comes back as it is.
    """
    order = "<" if payload.startswith(b"II") else ">"
    is_big = _BIG in payload[2:4]
    header, count, entry, place = ("8x", "Q", "HHQ8s", "Q") if is_big else ("4x", "H", "HHI4s", "I")
    entry_bytes = struct.calcsize(f"{order}{entry}")
    try:
        (at,) = struct.unpack_from(f"{order}{header}{place}", payload)
        (entries,) = struct.unpack_from(f"{order}{count}", payload, at)
    except (struct.error, OverflowError):
        return payload
    first = at + struct.calcsize(f"{order}{count}")
    end = first + entries * entry_bytes
    if end > len(payload):
        return payload
    entries_kept = []
    for start in range(first, end, entry_bytes):
        tag, type_, values, _ = struct.unpack_from(f"{order}{entry}", payload, start)
        is_orientation = tag == _ORIENTATION and type_ == _SHORT and values == 1
        if tag in _PIXELS or (keep_orientation and is_orientation):
            entries_kept.append(payload[start : start + entry_bytes])
    if len(entries_kept) == entries:
        return payload
    no_other_page = struct.pack(f"{order}{place}", 0)
    directory = struct.pack(f"{order}{count}", len(entries_kept)) + b"".join(entries_kept) + no_other_page
    return payload[:at] + directory + payload[at + len(directory) :]
