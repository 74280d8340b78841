"""Specs: what a person asks for. Complete, frozen, and stored with the model made from them.

Each is a group in the Prefect form and a prefix on the command line (`--training.batch-size`). A component is chosen
by name and its options are the mapping beside it, validated by the component itself (`cl_core.training.components`).
"""

from cl_core.registry import Options
from cl_core.specs.compute import ComputeSpec
from cl_core.specs.data import DataSpec, SourceSpec, ValueRange
from cl_core.specs.evaluation import EvaluationSpec, PromotionSpec
from cl_core.specs.grouping import GroupRule
from cl_core.specs.training import PAPER, Precision, TrainingSpec, ViewsBackend

__all__ = [
    "PAPER",
    "ComputeSpec",
    "DataSpec",
    "EvaluationSpec",
    "GroupRule",
    "Options",
    "Precision",
    "PromotionSpec",
    "SourceSpec",
    "TrainingSpec",
    "ValueRange",
    "ViewsBackend",
]
