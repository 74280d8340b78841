"""Which samples: the spec of a dataset, and of a source that is read once."""

import re
from typing import Annotated, Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from cl_core.refs import IMAGE
from cl_core.registry import MODALITIES, SOURCES, Described, NameIn, Options
from cl_core.specs.grouping import GroupRule

# Left out of the JSON while they are off, so that a spec from before they existed has the same digest.
_OPTIONAL = ("group", "near_duplicates_together", "value_range", "modality_options")
_OF_IMAGES = ("image_size", "value_range")

ValueRange = tuple[float, float]
"""Values in the image files that become black and white."""

_GREATEST_VALUE = 65_535


def _as_list_of_two(schema: dict[str, Any]) -> None:
    """Make a field a list of two numbers that may be left out: forms show no choice between it and null."""
    schema.pop("anyOf")
    schema.pop("default")
    schema |= {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}


class DataSpec(Described):
    """Which samples, and how they are split."""

    name: str = Field(title="Dataset name", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """Name under which snapshots are kept. Letters, digits, dots, dashes and underscores."""
    source: Annotated[str, NameIn(SOURCES)]
    """Kind of source that the samples come from."""
    location: str = ""
    """Folder or file to read. May be empty for sources with a built-in location."""
    source_options: Options = Field({})
    """Options of the source, as JSON."""
    modality: Annotated[str, NameIn(MODALITIES)] = IMAGE
    """Kind of data that the samples are."""
    modality_options: Options = Field({})
    """Options of the modality, as JSON. Those of images are the two fields below."""
    image_size: int = Field(28, ge=8, le=512)
    """Side of the square image that the encoder sees, in pixels. Of images only."""
    value_range: ValueRange | None = Field(None, json_schema_extra=_as_list_of_two)
    """Values in the image files that become black and white, such as [0, 4095] for 12 bits in 16-bit files. Values
    outside become black or white, too. 0 to 65,535 of 16-bit grayscale, 0 to 255 of all else. null takes the full
    range."""
    test_share: float = Field(0.1, gt=0, lt=1, title="Test fraction")
    """Share of the samples held out for testing if the source has no test split; the content hash decides which.
    Fraction."""
    group: str = Field("", max_length=1000)
    """What samples of one split have in common, such as the patient. `column:NAME` is a column of a table. `folder:1`
    is the first folder on the way to a file, `folder:-1` the last. `pattern:REGEX` is the part of the file's name that
    the parentheses match. Groups are held out whole, and the group's hash decides. A sample without a group is one by
    itself. Empty: every sample is."""
    near_duplicates_together: bool = Field(False, title="Keep near-duplicates together")
    """Put images that look alike into one split: those whose perceptual hashes differ in at most 3 of 64 bits, and
    chains of them. Ingestion takes longer, and new images that join two such groups may move one to the other
    split."""
    min_train_samples: int = Field(64, ge=2, title="Minimum training samples")
    """Refuse data with fewer distinct training samples. Samples."""
    max_quarantined_share: float = Field(0.05, ge=0, le=1, title="Max. quarantined fraction")
    """Stop the run if a larger share of inputs is rejected. Fraction of all inputs."""

    @field_validator("location")
    @classmethod
    def _holds_no_password(cls, location: str) -> str:
        if re.search(r"://[^/@]*:[^@]*@", location):
            raise ValueError(
                "an address with a password is refused, because specs are stored with the models made from them; set "
                "the password in the environment instead"
            )
        return location

    @field_validator("group")
    @classmethod
    def _is_a_rule(cls, group: str) -> str:
        if group:
            GroupRule.parse(group)
        return group

    @field_validator("value_range")
    @classmethod
    def _rises(cls, value_range: ValueRange | None) -> ValueRange | None:
        if value_range is not None and not 0 <= value_range[0] < value_range[1] <= _GREATEST_VALUE:
            raise ValueError(
                f"expected two values from 0 to {_GREATEST_VALUE}, the first less than the second, such as [0, 4095]; "
                f"got {list(value_range)}"
            )
        return value_range

    @model_validator(mode="after")
    def _options_of_one_modality(self) -> Self:
        """Refuse options that would be ignored."""
        if self.modality == IMAGE and self.modality_options:
            raise ValueError(
                f"modality_options are {self.modality_options}, and images have none here; set "
                f"{' and '.join(f'data.{name}' for name in _OF_IMAGES)} instead"
            )
        fields = type(self).model_fields
        for name in _OF_IMAGES:
            if self.modality != IMAGE and (value := getattr(self, name)) != fields[name].default:
                raise ValueError(
                    f"{name} {value} is an option of images, and modality is {self.modality!r}; leave it out"
                )
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_off(self, serialized: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialized(self)
        unused = ("modality",) if self.modality == IMAGE else _OF_IMAGES
        return {
            name: value
            for name, value in values.items()
            if name not in unused and (name not in _OPTIONAL or getattr(self, name))
        }

    @property
    def built_modality(self) -> Any:
        """The modality of the samples, with its options."""
        if self.modality == IMAGE:
            return MODALITIES.build(IMAGE, {"size": self.image_size, "value_range": self.value_range}, field="data")
        return MODALITIES.build(self.modality, self.modality_options, field="data.modality")

    def with_options_of(self, modality: Any) -> "DataSpec":
        """Return the spec with the options of another modality of the same kind, except those that are fitted."""
        if self.modality == IMAGE:
            return self.model_copy(update={"image_size": modality.size, "value_range": modality.value_range})
        options = modality.model_dump(mode="json", exclude=set(modality.fitted_options))
        return self.model_copy(update={"modality_options": {**self.modality_options, **options}})

    def option_name(self, option: str) -> str:
        """Return which option of a spec is this one of the modality, such as modality_options.length."""
        if self.modality == IMAGE:
            return {"size": "image_size"}.get(option, option)
        return f"modality_options.{option}"

    @property
    def grouped(self) -> bool:
        """Whether something keeps samples together in one split."""
        return bool(self.group) or self.near_duplicates_together


class SourceSpec(Described):
    """Which images to read when nothing is trained on them."""

    source: Annotated[str, NameIn(SOURCES)] = "image_folder"
    """Kind of source that the images come from; `snapshot` is the result of `cl ingest`."""
    location: str = ""
    """Folder or file to read; for a snapshot its folder, datasets/NAME/DIGEST. May be empty for sources with a built-in
    location."""
    source_options: Options = Field({})
    """Options of the source, as JSON."""
