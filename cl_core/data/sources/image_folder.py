"""A folder of image files: one folder per class, or unlabeled; at any depth."""

from typing import Any, ClassVar

from pydantic import model_validator

from cl_core.data.sources._file_folder import FileFolder
from cl_core.data.sources._folder_layout import FileKind
from cl_core.data.sources._image_files import IMAGE_FILES
from cl_core.registry import SOURCES
from cl_core.specs.renamed import current_options


@SOURCES.register("image_folder")
class ImageFolder(FileFolder):
    """Every image file below a folder.

    With `label_from` folders, the first folder on the way to a file is its class; files outside any folder have no
    label. With `split_from` folders, `train`, `val` (or `valid`, `validation`) and `test` folders, in any case, at the
    top or in the only folder with images there, are the splits, with the classes below. Images beside splits are
    refused. Without `test` the validation images are the test split, beside it they are trained on. A folder `images`
    that holds all images of a split is no class. Symbolic links are followed, but not in circles, and not out of the
    folders of CL_DATA_ROOTS.
    """

    kind: ClassVar[FileKind] = IMAGE_FILES

    @model_validator(mode="before")
    @classmethod
    def _in_present_words(cls, options: Any) -> Any:
        return current_options("image_folder", options)
