"""What a model takes, as it is stored with it."""

from typing import Any

from pydantic import Field

from cl_core.modalities import ArraySpec, Modality
from cl_core.refs import IMAGE, Ref
from cl_core.registry import MODALITIES


class ModelInput(Ref):
    """What a model takes, as it is stored with the model and with what the model made."""

    modality: str = Field(IMAGE, description="Kind of the samples.")
    shape: tuple[int, ...] = Field(description="Of a sample, as the model takes it.")
    hidden: dict[str, Any] = Field({}, description="Options of the modality that the shape does not show.")

    @classmethod
    def of(cls, modality: Modality, array: ArraySpec) -> "ModelInput":
        """Return what a model takes that was trained on such arrays."""
        return cls(modality=modality.registered_name, shape=array.shape, hidden=modality.hidden)

    @property
    def kind(self) -> Modality:
        """The modality, with the options that give such arrays.

        Raises:
            ValueError: When the modality gives no such arrays.
        """
        modality: Modality = MODALITIES.build(self.modality, self.hidden, field="modality")
        return modality.taking(ArraySpec(modality.dtype, self.shape))

    @property
    def array(self) -> ArraySpec:
        """A sample, as the model takes it."""
        return ArraySpec(MODALITIES.get(self.modality, field="modality").dtype, self.shape)

    def __str__(self) -> str:
        return self.kind.describe(self.array)
