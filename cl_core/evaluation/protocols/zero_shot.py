"""Zero-shot classification: images are classified by what classes are called, without labeled training samples."""

from typing import ClassVar, Self

import numpy as np
from pydantic import Field, field_validator

from cl_core.columns import Column
from cl_core.errors import DataError
from cl_core.evaluation.bootstrap import accuracy_score
from cl_core.evaluation.nearest import nearest_in_blocks
from cl_core.evaluation.prompts import class_vectors, prompts, why_no_template
from cl_core.evaluation.protocols import EvaluatedData, Evaluation, Features, Outcome
from cl_core.modalities import Rejected
from cl_core.modalities._text_payloads import text_of_payload
from cl_core.registry import EVALUATIONS

_FIELD = "evaluation.options.zero_shot"
_TOP = 5


@EVALUATIONS.register("zero_shot")
class ZeroShot(Evaluation):
    """Each test image gets the class whose name, as a text, is most similar to it.

    The name of a class is put into each template; the mean of the unit embeddings of these texts, normalized again,
    represents the class. Labels are compared with the result alone.

    Source: Radford et al. 2021, "Learning transferable visual models from natural language supervision",
    arXiv:2103.00020, Sec. 3.1. Differences: names and templates are those that are given.
    """

    needs_labels: ClassVar[bool] = True
    reads_training: ClassVar[bool] = False

    names: dict[str, str] = Field({}, title="Names of classes")
    """What a class is called in prompts, by class. A class that is left out is called as in the data, with blanks in
    place of - and _."""
    templates: tuple[str, ...] = Field(("{}",), min_length=1)
    """Texts with {} in place of the name, such as "a photo of a {}"."""

    @field_validator("templates")
    @classmethod
    def _have_a_place(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if problem := why_no_template(template):
                raise ValueError(problem)
        return templates

    @property
    def predictors(self) -> tuple[str, ...]:
        """Its accuracy can decide."""
        return ("zero_shot",)

    @property
    def per_sample_scores(self) -> tuple[str, ...]:
        """Whether the class is among the five most similar."""
        return (f"zero_shot.top_{_TOP}",)

    def fitted_to(self, labels: EvaluatedData) -> Self:
        """Refuse models without a program for texts, and names of classes that there are not.

        Raises:
            DataError: With what to do.
        """
        if len(labels.takes) < 2 or labels.takes[1] != "text":
            raise DataError(
                "evaluation.protocols: zero_shot compares images with texts, and models of these data take "
                f"{labels.takes[0]}s only; set data.modality to image_text, or leave zero_shot out"
            )
        classes = labels.train.keys() | labels.test.keys()
        if unknown := sorted(self.names.keys() - classes):
            raise DataError(
                f"{_FIELD}.names: there is no class {unknown[0]!r}; there are: {', '.join(sorted(classes))}"
            )
        for name in sorted(classes):
            try:
                for prompt in self.asked([name]):
                    text_of_payload(prompt)
            except Rejected as rejection:
                raise DataError(
                    f"{_FIELD}.names: what class {name!r} is called is no text ({rejection.detail}); name it otherwise"
                ) from rejection
        return self

    def asked(self, classes: list[str]) -> list[bytes]:
        """Return all names in all templates, class by class."""
        return prompts(classes, self.names, self.templates)

    def __call__(self, train: Features, test: Features, *, classes: list[str], resamples: int, seed: int) -> Outcome:
        """Classify the test images; training features are not used."""
        if "zero_shot" not in test.asked:
            return Outcome(scores={})
        test.labeled("test")
        vectors = Column(class_vectors(test.asked["zero_shot"], templates=len(self.templates)))
        top = min(_TOP, len(classes))
        positions = [near.positions.numpy() for near in nearest_in_blocks(test.embeddings, vectors, k=top)]
        ranked = np.concatenate(positions)
        scored = np.flatnonzero(test.groups >= 0)
        right = ranked[scored] == test.groups[scored, None]
        among = Outcome.of_samples(
            {f"zero_shot.top_{_TOP}": right.any(axis=1).astype(np.float64)},
            scored,
            len(test.ids),
            resamples=resamples,
            seed=seed,
        )
        return Outcome(
            scores={"zero_shot.accuracy": accuracy_score(right[:, 0]), **among.scores},
            predictions={"zero_shot": ranked[:, 0]},
            per_sample=among.per_sample,
        )
