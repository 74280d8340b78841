"""Prompts: texts with the names of classes, and the vectors that represent the classes."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

NAME = "{}"
"""In a template, the place of the name."""


def prompts(classes: Sequence[str], names: Mapping[str, str], templates: Sequence[str]) -> list[bytes]:
    """Return all names in all templates, class by class, in UTF-8.

    Args:
        classes: C classes.
        names: What a class is called; one without a name is called as it is, with blanks in place of - and _.
        templates: T texts with `NAME` in place of the name.
    """
    called = [names.get(one) or one.replace("-", " ").replace("_", " ").strip() or one for one in classes]
    return [template.replace(NAME, name).encode() for name in called for template in templates]


def class_vectors(prompts: NDArray[np.float32], *, templates: int) -> NDArray[np.float32]:
    """Return (C, D) unit vectors of C classes: means of unit embeddings of their prompts, normalized again.

    Args:
        prompts: (C * T, D) embeddings of the prompts, class by class.
        templates: T.

    Source: Radford et al. 2021, arXiv:2103.00020, Sec. 3.1.4. Differences: none.
    """
    unit = F.normalize(torch.tensor(prompts), dim=1).reshape(-1, templates, prompts.shape[1])
    return F.normalize(unit.mean(dim=1), dim=1).numpy()


def why_no_template(template: str) -> str:
    """Return what is wrong with a template; empty where nothing is."""
    if template.count(NAME) == 1:
        return ""
    return f"a template has {NAME} once, in place of the name, such as 'a photo of a {NAME}'; got {template!r}"
