"""FaceNet: a sample is closer to its own class than to any other, learned from triplets of labeled samples."""

from collections.abc import Collection
from typing import ClassVar, Self

from pydantic import Field

from cl_core.data.sampling import fitting_samples_per_class
from cl_core.encoders import Encoder
from cl_core.losses import PairLoss
from cl_core.methods import FromPaper, Method, MethodOptions, require_loss
from cl_core.methods._heads import mlp_head
from cl_core.methods._in_batch import InBatch
from cl_core.registry import METHODS

_USUAL_SAMPLES_PER_CLASS = 32


@METHODS.register("facenet")
class FaceNetOptions(MethodOptions):
    """Options of FaceNet: a batch has P classes with K samples each, embedded by a linear layer on the features.

    Source: Schroff et al. 2015, "FaceNet: a unified embedding for face recognition and clustering", arXiv:1503.03832,
    Sec. 3. Differences: batches hold nothing but P x K samples, as in Hermans et al. 2017, arXiv:1703.07737, where
    FaceNet adds random negatives; and what is evaluated and registered is the encoder, as for every method.
    """

    paper_loss: ClassVar[FromPaper | None] = FromPaper("triplet", {"margin": 0.2, "mining": "semi_hard"})
    # Those that learn from given classes. Debiasing corrects for classes that are unknown; here they are known.
    accepted_losses: ClassVar[frozenset[str]] = frozenset(
        {"triplet", "margin_contrastive", "logistic", "pairwise_logistic", "n_pair", "supcon", "info_nce", "decoupled"}
    )
    paper_views: ClassVar[FromPaper] = FromPaper(
        "simclr",
        {
            "view_count": 1,
            "crop_area_min": 0.6,
            "brightness": 0.2,
            "contrast": 0.2,
            "saturation": 0.2,
            "hue": 0.05,
            "grayscale_probability": 0.0,
            "blur_probability": 0.0,
        },
    )
    view_counts: ClassVar[range] = range(1, 3)
    needs_labels: ClassVar[bool] = True

    samples_per_class: int | None = Field(None, ge=2, le=65_536)
    """K, samples of each class in a batch; a batch has batch_size / K classes. null takes 32, or the nearest below that
    the classes and the batch allow, or else above. Samples; the paper uses about 40 for each of 45 faces, 4 to 8 are
    usual with many classes."""
    projector_features: int = Field(128, ge=2, le=65_536, title="Embedding width")
    """Dimensions in which distances are taken; the paper uses 128. Units."""

    @property
    def batch_samples_per_class(self) -> int:
        """K of the P x K batches."""
        return self.samples_per_class or _USUAL_SAMPLES_PER_CLASS

    def fitted_to(self, class_sizes: Collection[int], *, batch_size: int) -> Self:
        """Choose K if it was left open; the usual one where none fits, which is then refused."""
        if self.samples_per_class is not None:
            return self
        fitting = fitting_samples_per_class(class_sizes, batch_size=batch_size)
        below = [k for k in fitting if k <= _USUAL_SAMPLES_PER_CLASS]
        chosen = below[-1] if below else min(fitting, default=_USUAL_SAMPLES_PER_CLASS)
        return self.model_copy(update={"samples_per_class": chosen})

    def build(self, encoder: Encoder, loss: PairLoss | None) -> Method:
        """Build a linear embedding, as in the paper; the loss normalizes it. It is dropped after training."""
        embedding = mlp_head([encoder.features, self.projector_features])
        per_class = self.batch_samples_per_class
        return InBatch(encoder, embedding, require_loss(loss), by_label=True, samples_per_class=per_class)
