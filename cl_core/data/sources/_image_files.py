"""Image files: which files of a folder are images."""

from cl_core.data.sources._folder_layout import FileKind
from cl_core.modalities._image_decoding import MAX_PAYLOAD_BYTES
from cl_core.modalities._image_head import starts_like_image

# Files with these suffixes that cannot be decoded are quarantined. Other files (README.txt, labels.csv) and hidden
# files (.DS_Store, ._a.jpg) are passed over, unless they begin like an image.
IMAGE_SUFFIXES = frozenset(
    (
        *(
            ".jpg",
            ".jpeg",
            ".jpe",
            ".jfif",
            ".png",
            ".apng",
            ".webp",
            ".gif",
            ".avif",
            ".heic",
            ".heif",
            ".jp2",
            ".jxl",
        ),
        *(".bmp", ".tif", ".tiff", ".pbm", ".pgm", ".pnm", ".ppm", ".tga"),
    )
)

IMAGE_FILES = FileKind(
    noun="image",
    suffixes=IMAGE_SUFFIXES,
    examples=".jpg, .png, .webp, .gif, ...",
    starts=starts_like_image,
    most_bytes=MAX_PAYLOAD_BYTES,
)
