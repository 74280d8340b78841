"""What a model takes, as it is stored with it."""

from typing import TYPE_CHECKING, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from cl_core.modalities import ArraySpec, Modality, Specs
from cl_core.refs import IMAGE, Ref
from cl_core.registry import MODALITIES

if TYPE_CHECKING:
    from cl_core.columns import Rows


class ModelInput(Ref):
    """What a model takes, as it is stored with the model and with what the model made."""

    modality: str = Field(IMAGE, description="Kind of the samples.")
    shapes: tuple[tuple[int, ...], ...] = Field(description="Of a sample, as the model takes it: of each column.")
    hidden: dict[str, Any] = Field({}, description="Options of the modality that the shapes do not show.")
    second: "ModelInput | None" = Field(None, description="What its program for second sides takes; none without one.")

    @model_validator(mode="before")
    @classmethod
    def _of_one_column(cls, values: Any) -> Any:
        """Read what was written when a modality had one column."""
        if not isinstance(values, dict) or "shape" not in values:
            return values
        return {name: value for name, value in values.items() if name != "shape"} | {"shapes": [values["shape"]]}

    @classmethod
    def of(cls, modality: Modality, arrays: Specs) -> "ModelInput":
        """Return what a model takes that was trained on samples of such arrays: of pairs on one side."""
        first, *others = (
            cls(
                modality=modality.served(side).registered_name,
                shapes=tuple(array.shape for array in modality.side(arrays, side)),
                hidden=modality.served(side).hidden,
            )
            for side in modality.programs
        )
        return first.model_copy(update={"second": others[0]}) if others else first

    @model_serializer(mode="wrap")
    def _without_second(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # What was stored before there were second programs has the same digest.
        return {name: value for name, value in dump(self).items() if name != "second" or value is not None}

    @property
    def modalities(self) -> tuple[str, ...]:
        """Kinds of what it takes: of each of its programs."""
        return (self.modality, self.second.modality) if self.second else (self.modality,)

    def of_side(self, side: int) -> "ModelInput":
        """Return what the program takes that is for one side of pairs."""
        return self.second if side and self.second else self

    def sample_arrays(self, modality: Modality) -> Specs:
        """Return what samples of a modality become of which a model takes this: of pairs both sides.

        Raises:
            ValueError: When the modality gives no such arrays.
        """
        return tuple(array for side in range(modality.sides) for array in self.of_side(side).arrays)

    @property
    def kind(self) -> Modality:
        """The modality, with the options that give such arrays.

        Raises:
            ValueError: When the modality gives no such arrays.
        """
        modality: Modality = MODALITIES.build(self.modality, self.hidden, field="modality")
        return modality.taking(self.arrays)

    @property
    def arrays(self) -> Specs:
        """A sample, as the model takes it.

        Raises:
            ValueError: When the modality has another number of columns.
        """
        kinds = MODALITIES.get(self.modality, field="modality").columns
        if len(kinds) != len(self.shapes):
            raise ValueError(f"it takes {len(self.shapes)} arrays, not {len(kinds)}")
        return tuple(ArraySpec(kind.dtype, shape) for kind, shape in zip(kinds, self.shapes, strict=True))

    def other_options(self, modality: Modality) -> dict[str, Any]:
        """Return by which options samples of a modality become other arrays than these: the values that they need.

        Asked of the modality that the model takes, or of pairs of it.

        Raises:
            ValueError: When the modality gives no such arrays.
        """
        different: dict[str, Any] = {}
        for side in modality.programs:
            wanted, given = self.of_side(side).kind, modality.served(side)
            # What is fitted to the training split decides nothing that a model takes.
            decide = (name for name in type(wanted).model_fields if name not in wanted.fitted_options)
            different |= {name: value for name in decide if (value := getattr(wanted, name)) != getattr(given, name)}
        return different

    def __str__(self) -> str:
        first = self.kind.describe(self.arrays)
        return f"{first}, or {self.second}" if self.second else first


def model_row(payload: bytes, modality: Modality, arrays: Specs) -> "Rows":
    """Return a payload as a model takes it: decoded, and what is shorter padded.

    Raises:
        Rejected: When the bytes cannot be used.
    """
    from cl_core.columns import padded  # It imports NumPy, which reading a version's tags does not need.

    parts = zip(modality.decode(payload, arrays), arrays, strict=True)
    return tuple(padded(part, array.shape) for part, array in parts)
