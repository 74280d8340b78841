"""Specs: complete, frozen, bounded, and readable by people who fill in a form."""

import json
import math

import pytest
from pydantic import ValidationError

from cl_core.hashing import canonical_json
from cl_core.registry import explain_validation_error
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, PromotionSpec, TrainingSpec

SPECS = [DataSpec, TrainingSpec, EvaluationSpec, PromotionSpec, ComputeSpec]
REQUIRED = {DataSpec: {"name": "parts", "source": "image_folder"}}
every_spec = pytest.mark.parametrize("spec", SPECS)
EVERY_FIELD = [(spec, name) for spec in SPECS for name in spec.model_fields]


def complete(spec, **fields):
    return spec(**{**REQUIRED.get(spec, {}), **fields})


def sentence(spec, path="", **fields):
    with pytest.raises(ValidationError) as caught:
        complete(spec, **fields)
    return explain_validation_error(caught.value, path, sorted(spec.model_fields))


@every_spec
def test_a_spec_is_complete_when_it_is_given_what_has_no_default(spec):
    assert {name for name, field in spec.model_fields.items() if field.is_required()} == REQUIRED.get(spec, {}).keys()
    # The plan of a training chooses epochs by the data.
    assert {name for name, value in complete(spec).model_dump().items() if value is None} <= {"epochs"}


def test_what_is_missing_is_named():
    with pytest.raises(ValidationError) as caught:
        DataSpec(source="image_folder")
    assert explain_validation_error(caught.value, "data", []) == "data.name: required, and not given"


def test_every_field_has_a_title_and_a_description_that_is_a_sentence():
    offenders = []
    for spec, name in EVERY_FIELD:
        title, description = spec.model_fields[name].title or "", spec.model_fields[name].description or ""
        if not title[:1].isupper() or not description.endswith("."):
            offenders.append(f"{spec.__name__}.{name}: {title!r}, {description!r}")
    assert offenders == []


def test_every_number_has_a_lower_bound_in_the_schema():
    offenders = []
    for spec in SPECS:
        for name, schema in spec.model_json_schema()["properties"].items():
            is_number = schema.get("type") in ("integer", "number")
            if is_number and not {"minimum", "exclusiveMinimum"} & schema.keys():
                offenders.append(f"{spec.__name__}.{name}")
    assert offenders == []


@every_spec
def test_a_spec_is_frozen(spec):
    made = complete(spec)
    for name in spec.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(made, name, getattr(made, name))


@every_spec
def test_a_spec_survives_json(spec):
    made = complete(spec)
    assert spec.model_validate_json(made.model_dump_json()) == made
    assert spec(**json.loads(canonical_json(made))) == made


@every_spec
def test_a_field_that_does_not_exist_is_refused_with_those_that_do(spec):
    known = ", ".join(sorted(spec.model_fields))
    assert sentence(spec, "group", color=1) == f"group.color: there is no such option; choose from: {known}"


@pytest.mark.parametrize(
    ("spec", "field", "below", "lowest", "highest", "above"),
    [
        (DataSpec, "image_size", 7, 8, 512, 513),
        (DataSpec, "test_share", 0.0, 1e-6, 0.999, 1.0),
        (DataSpec, "min_train_samples", 1, 2, 10**9, None),
        (DataSpec, "max_quarantined_share", -1e-6, 0.0, 1.0, 1.001),
        (TrainingSpec, "epochs", 0, 1, 100_000, 100_001),
        (TrainingSpec, "batch_size", 1, 2, 2**20, 2**20 + 1),
        (TrainingSpec, "accumulate_steps", 0, 1, 1024, 1025),
        (TrainingSpec, "learning_rate", 0.0, 1e-9, 100.0, 100.1),
        (TrainingSpec, "weight_decay", -1e-9, 0.0, 1.0, 1.1),
        (TrainingSpec, "momentum", -0.1, 0.0, 0.999, 1.0),
        (TrainingSpec, "warmup_epochs", -0.1, 0.0, 3.9, None),
        (TrainingSpec, "seed", -1, 0, 2**32 - 1, 2**32),
        (EvaluationSpec, "resamples", 99, 100, 100_000, 100_001),
        (EvaluationSpec, "seed", -1, 0, 2**32 - 1, 2**32),
        (PromotionSpec, "tolerance", -0.001, 0.0, 1.0, 1.001),
        (ComputeSpec, "threads", 0, 1, 65_536, 65_537),
        (ComputeSpec, "gpus_per_worker", -1, 0, 1, 2),
        (ComputeSpec, "ingest_workers", -1, 0, 1024, 1025),
        (ComputeSpec, "checkpoint_every_s", 0.0, 1e-3, 1e9, None),
        (ComputeSpec, "report_every_s", -0.1, 0.0, 1e9, None),
    ],
)
def test_bounds_are_where_they_are_documented(spec, field, below, lowest, highest, above):
    extra = {"warmup_epochs": 0} if field == "epochs" else {}
    for value in (lowest, highest):
        assert getattr(complete(spec, **{field: value, **extra}), field) == value
    for value in (below, above):
        if value is not None:
            said = sentence(spec, **{field: value, **extra})
            assert said.startswith(f"{field}: input should be ") and said.endswith(f"; got {value!r}")


@pytest.mark.parametrize(
    ("spec", "field"),
    [(spec, name) for spec, name in EVERY_FIELD if spec.model_fields[name].annotation is float],
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_no_numbers_are_refused(spec, field, value):
    """They would have no JSON form, hence no digest."""
    assert sentence(spec, "group", **{field: value}) == f"group.{field}: input should be a finite number; got {value}"


def test_a_message_gives_the_full_path_what_was_wanted_and_what_came():
    assert sentence(TrainingSpec, "training", batch_size=1) == (
        "training.batch_size: input should be greater than or equal to 2; got 1"
    )
    assert sentence(TrainingSpec, "training", optimizer="adam") == (
        "training.optimizer: input should be 'adamw', 'sgd' or 'lars'; got 'adam'"
    )
    assert sentence(EvaluationSpec, "evaluation", protocols=[]) == (
        "evaluation.protocols: list should have at least 1 item after validation, not 0; got []"
    )


def test_an_unknown_component_is_refused_where_it_is_named():
    assert sentence(TrainingSpec, "training", method="simcrl").startswith(
        "training.method: there is no method named 'simcrl' (did you mean 'simclr'?); choose one of: "
    )
    assert sentence(EvaluationSpec, "evaluation", protocols=["knn", "linear"]).startswith(
        "evaluation.protocols.1: there is no evaluation named 'linear' (did you mean 'linear_probe'?); choose one of: "
    )


def test_a_warm_up_as_long_as_the_training_is_refused():
    assert sentence(TrainingSpec, "training", epochs=2, warmup_epochs=2) == (
        "training: warmup_epochs 2 must be less than epochs 2: the learning rate would never reach its peak"
    )
    assert TrainingSpec(epochs=2, warmup_epochs=1.99).warmup_epochs == 1.99


@pytest.mark.parametrize(
    ("workers", "threads", "nearest"), [(2, 3, 4), (2, 1, 2), (4, 2, 4), (4, 9, 8), (3, 10, 9), (3, 11, 12)]
)
def test_threads_that_cannot_be_shared_evenly_are_refused_with_the_nearest_that_can(workers, threads, nearest):
    assert sentence(ComputeSpec, "compute", workers=workers, threads=threads) == (
        f"compute: threads {threads} cannot be divided evenly among {workers} workers; nearest: {nearest}"
    )
    assert ComputeSpec(workers=workers, threads=nearest).threads == nearest


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a b", "-a", "a\n", "x" * 101])
def test_a_dataset_name_that_cannot_name_a_folder_is_refused(name):
    assert "name: string should" in sentence(DataSpec, name=name)


@pytest.mark.parametrize("name", ["a", "0", "Fashion-MNIST_v1.2", "x" * 100])
def test_a_dataset_name_of_letters_digits_dots_dashes_and_underscores_is_accepted(name):
    assert complete(DataSpec, name=name).name == name


@pytest.mark.parametrize("field", ["loss", "views"])
def test_an_old_value_is_accepted_with_a_warning_that_names_the_new_one(field):
    with pytest.warns(FutureWarning, match=rf"^training\.{field}: 'published' is now 'paper'; use 'paper' instead$"):
        training = TrainingSpec(**{field: "published"})
    assert training == TrainingSpec()


def test_a_stored_spec_in_old_words_is_readable():
    stored = TrainingSpec(method="barlow_twins").model_dump(mode="json") | {"loss": "published"}
    with pytest.warns(FutureWarning):
        assert TrainingSpec.model_validate_json(json.dumps(stored)) == TrainingSpec(method="barlow_twins")
