"""Checks of the components of a training against the kind of its samples, made before anything is trained."""

import numpy as np
import torch

from cl_core.columns import Column, Columns, SamplePool
from cl_core.errors import SpecError
from cl_core.modalities import Modality
from cl_core.modalities._processor import Processor
from cl_core.registry import ENCODERS, METHODS, VIEWS
from cl_core.rng import SampleRng
from cl_core.training.components import Parts
from cl_core.views import Views, view_maker


def check_views(parts: Parts, modality: Modality, processor: Processor | None = None) -> None:
    """Refuse views that the modality, the encoder or the method does not suit; tried on two samples of zeros.

    Without `processor`, which is fitted to the data, it is one for what the options of the modality say of them. If
    they say too little, nothing is tried.

    Raises:
        SpecError: When the views are made of another modality, their backend cannot be used, the encoder has too many
            stages for the smallest views, views have several sizes and the encoder or the method takes one only, or one
            of these draws random numbers.
    """
    _check_suited(parts, modality)
    view_maker(parts.views, parts.spec.views_backend)
    if processor is None:
        if (known := modality.known_arrays()) is None:
            return
        processor = modality.example_processor(known)
    sides = [processor.side(side) for side in range(modality.sides)]
    zeros = (Column(np.zeros((2, *shape), dtype)) for side in sides for dtype, shape in side.arrays)
    pool = SamplePool(Columns({kind.name: column for kind, column in zip(modality.columns, zeros, strict=True)}))
    views = parts.views(
        pool.batch(np.arange(2)),
        rng=SampleRng(0, 0, np.arange(2, dtype=np.uint64)),
        processor=processor,
        pool=pool,
    )
    encoder = parts.encoder.build_for(processor)
    shapes = sorted({tuple(view.shape[1:]) for view in views})
    for shape in {*shapes} - {side.view_shape for side in sides}:
        with torch.device("meta"):
            parts.encoder.build(shape)
    method = parts.method.build(encoder, parts.loss).eval()
    before = torch.get_rng_state()
    try:
        with torch.no_grad():
            method.embed(views)
            method.train().embed(views)
    except RuntimeError as error:
        raise SpecError(
            f"training.views: method {parts.spec.method!r} with encoder {parts.spec.encoder!r} cannot take views "
            f"of the shapes {' and '.join(map(str, shapes))}, made of {modality.describe(processor.arrays)} ({error}); "
            "choose other views, or a method and an encoder that take several shapes"
        ) from error
    if not torch.equal(before, torch.get_rng_state()):
        raise SpecError(
            f"training.encoder: method {parts.spec.method!r} with encoder {parts.spec.encoder!r} draws random numbers "
            "in a step, as dropout does, so its result would depend on the number of workers and on where it resumes; "
            "leave that out, or draw the numbers in the views by SampleRng"
        )


def _check_suited(parts: Parts, modality: Modality) -> None:
    """Refuse views of other modalities, mixed samples of one without numbers, and views that would be the same."""
    _check_towers(parts, modality)
    if parts.views.needs_dropout and getattr(parts.encoder, "dropout", None) == 0:
        raise SpecError(
            f"training.encoder_options.dropout: 0 makes all views of {parts.spec.views!r} of a sample the same, so "
            "that nothing is learned; set it above 0, such as 0.1, or choose another view policy"
        )
    for side, (kind, policy) in enumerate(zip(modality.columns, parts.views.nested, strict=False)):
        assert isinstance(policy, Views), "view policies are made of view policies"
        _check_views_of(policy, modality.served(side), field=f"training.views_options.{kind.name}.name")
    _check_views_of(parts.views, modality, field="training.views")


def _check_views_of(policy: Views, modality: Modality, *, field: str) -> None:
    """Refuse a policy for other modalities, and one that mixes samples without numbers."""
    name, suited = modality.registered_name, policy.modalities
    if name in suited or not (suited or modality.is_symbolic):
        return
    of = {one: VIEWS.get(one, field="").modalities for one in VIEWS.names()}
    fitting = [one for one, kinds in of.items() if name in kinds or not (kinds or modality.is_symbolic)]
    made_of = f"makes views of {' or '.join(suited)}" if suited else "mixes samples, which are numbers"
    raise SpecError(
        f"{field}: {policy.registered_name!r} {made_of}, and data.modality is {name!r}; choose one of: "
        f"{', '.join(fitting)}"
    )


def _check_towers(parts: Parts, modality: Modality) -> None:
    """Refuse an encoder without a tower for each kind of sample, or with more, and a method that would not use them."""
    spec, name, wanted = parts.spec, modality.registered_name, len(modality.programs) > 1
    if wanted != parts.encoder.has_towers:
        fitting = [one for one in ENCODERS.names() if ENCODERS.get(one, field="").has_towers == wanted]
        takes = "a network for each side of pairs" if parts.encoder.has_towers else "one network"
        raise SpecError(
            f"training.encoder: {spec.encoder!r} is {takes}, and data.modality is {name!r}; choose one of: "
            f"{', '.join(fitting)}"
        )
    towers = [kind.name for kind in modality.columns] if wanted else []
    for side in spec.tower_models.keys() - set(towers):
        has = f"it has the towers {' and '.join(towers)}" if towers else f"{spec.encoder!r} has no towers"
        raise SpecError(f"training.start_towers: there is no tower {side!r}, {has}; correct the name, or leave it out")
    if wanted and not parts.method.takes_towers:
        fitting = [one for one in METHODS.names() if METHODS.get(one, field="").takes_towers]
        raise SpecError(
            f"training.method: {spec.method!r} passes all views through one network, and data.modality is {name!r}, "
            f"whose sides have a network each; choose one of: {', '.join(fitting)}"
        )
