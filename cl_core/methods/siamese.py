"""Siamese networks: pull pairs of the same sample or class together and push other pairs apart."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from cl_core.encoders import Encoder
from cl_core.losses import PairLoss
from cl_core.methods import FromPaper, Method, MethodOptions, require_loss
from cl_core.methods._heads import mlp_head
from cl_core.methods._in_batch import InBatch
from cl_core.registry import METHODS


@METHODS.register("siamese")
class SiameseOptions(MethodOptions):
    """Options of a Siamese network: one network embeds both sides of every pair, and pairs are independent.

    Source: Bromley et al. 1993, "Signature verification using a Siamese time delay neural network", NIPS 6; Chopra,
    Hadsell & LeCun 2005, "Learning a similarity metric discriminatively", CVPR; Hadsell, Chopra & LeCun 2006,
    "Dimensionality reduction by learning an invariant mapping", CVPR, whose loss is the published one. Differences:
    the pairs are all those of a batch, nearly all of them different, which is why the loss balances them; distances
    are those of unit rows.
    """

    paper_loss: ClassVar[FromPaper | None] = FromPaper("margin_contrastive", {"balanced": True})
    accepted_losses: ClassVar[frozenset[str]] = frozenset({"margin_contrastive", "logistic", "pairwise_logistic"})

    pairs: Literal["views", "labels"] = "views"
    """What makes a positive pair: two views of one sample, or samples of one class."""
    samples_per_class: int = Field(0, ge=0, le=65_536)
    """Samples of each class in a batch, at least 2; 0 draws batches without regard to classes, which suffices with few
    classes. Only with pairs 'labels'. Samples."""
    projector_features: int = Field(128, ge=2, le=65_536, title="Embedding width")
    """Dimensions in which pairs are compared; 50 in Chopra et al., 2 in Hadsell et al. Units."""

    @model_validator(mode="after")
    def _classes_are_those_of_labels(self) -> Self:
        if self.samples_per_class and self.pairs == "views":
            raise ValueError(
                f"samples_per_class {self.samples_per_class} has no effect with pairs 'views'; set it to 0, or choose "
                "pairs 'labels'"
            )
        if self.samples_per_class == 1:
            raise ValueError("samples_per_class 1 gives no pairs within a class; choose at least 2")
        return self

    @property
    def view_counts(self) -> range:
        """From two if views are paired, from one if samples are."""
        return range(2, 9) if self.pairs == "views" else range(1, 9)

    @property
    def needs_labels(self) -> bool:
        """True if labels decide which samples are pairs."""
        return self.pairs == "labels"

    @property
    def batch_samples_per_class(self) -> int:
        """The option of that name."""
        return self.samples_per_class

    def build(self, encoder: Encoder, loss: PairLoss | None) -> Method:
        """Build a linear layer on the features, as in the papers; it is dropped after training."""
        embedding = mlp_head([encoder.features, self.projector_features])
        return InBatch(encoder, embedding, require_loss(loss), by_label=self.pairs == "labels")
