"""What encoders of texts share: they are built for a vocabulary."""

from abc import abstractmethod

from cl_core.encoders import Encoder, EncoderOptions
from cl_core.errors import SpecError
from cl_core.modalities._processor import Processor
from cl_core.modalities._text_processor import TextProcessor


class TextEncoderOptions(EncoderOptions):
    """Options of an encoder of texts."""

    def build(self, shape: tuple[int, ...]) -> Encoder:
        """Refuse a shape alone, which does not say how many words there are.

        Raises:
            SpecError: Always.
        """
        raise SpecError(
            f"training.encoder: {type(self).__name__} takes texts, but the views are numbers of the shape {shape}; "
            "choose another encoder, such as mlp, or set data.modality to 'text'"
        )

    def build_for(self, processor: Processor) -> Encoder:
        """Build a fresh encoder for a vocabulary.

        Raises:
            SpecError: When views are not of texts.
        """
        if isinstance(processor, TextProcessor):
            return self.build_for_texts(processor)
        return self.build(processor.view_shape)

    @abstractmethod
    def build_for_texts(self, processor: TextProcessor) -> Encoder:
        """Build a fresh encoder for a vocabulary."""
