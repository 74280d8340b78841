"""Sub-batches: the gradient is that of the whole batch, at a part of its memory."""

import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from small_training import JobOf
from torch import Tensor, nn

from cl_core.encoders import Encoder
from cl_core.encoders.mlp import MLP
from cl_core.losses.info_nce import InfoNCE
from cl_core.losses.pairwise_logistic import PairwiseLogistic
from cl_core.methods import Method, Samples, Step
from cl_core.methods._in_batch import InBatch
from cl_core.registry import LOSSES, METHODS
from cl_core.training.gradients import Embed, backward
from cl_core.training.loop import train

SAMPLES, FEATURES = 12, 5
WAYS = [[12], [6, 6], [5, 4, 3], [1] * 12]
every_way = pytest.mark.parametrize("sizes", WAYS, ids=lambda sizes: "+".join(map(str, sizes)))


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


VIEWS = (rows(SAMPLES, FEATURES, seed=1), rows(SAMPLES, FEATURES, seed=2))
WHO = Samples(torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(3)))


def method_of(*middle: nn.Module, loss: object = None) -> InBatch:
    """Two linear layers with something between them, in float64, the same at every call."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(FEATURES, 8), *middle, nn.Tanh(), nn.Linear(8, 6)).double()
    return InBatch(Encoder(encoder, 6), nn.Linear(6, 4).double(), loss or InfoNCE(temperature=0.2)).train()


def embedding(method: Method) -> Embed:
    return lambda positions: method.embed(tuple(view[positions] for view in VIEWS))


def parts_of(sizes: list[int]) -> list[np.ndarray]:
    return np.split(np.arange(SAMPLES), np.cumsum(sizes)[:-1])


def in_parts(method: Method, sizes: list[int], *, scale: float = 1.0) -> Step:
    return backward(method, embedding(method), parts_of(sizes), WHO, scale=scale)


def in_one_graph(method: Method, sizes: list[int]) -> Tensor:
    """The loss of the embeddings of all parts, with every activation kept: memory decides nothing here."""
    embed = embedding(method)
    embedded = [embed(part) for part in parts_of(sizes)]
    return method.contrast(tuple(torch.cat(view) for view in zip(*embedded, strict=True)), WHO).loss


def assert_same_gradients(ours: nn.Module, theirs: nn.Module, *, tolerance: float = 1e-12) -> None:
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert mine.grad is not None and other.grad is not None, name
        torch.testing.assert_close(mine.grad, other.grad, rtol=0, atol=tolerance, msg=name)


@every_way
@pytest.mark.parametrize("loss", [InfoNCE(temperature=0.2), PairwiseLogistic()], ids=["info_nce", "learned scale"])
def test_the_gradient_is_that_of_the_whole_batch(sizes: list[int], loss: object) -> None:
    ours, whole = method_of(loss=loss), method_of(loss=loss)
    step = in_parts(ours, sizes)
    expected = whole(VIEWS, WHO)
    expected.loss.backward()
    assert step.loss.item() == pytest.approx(expected.loss.item(), abs=1e-12)
    torch.testing.assert_close(step.embeddings, expected.embeddings, rtol=0, atol=1e-12)
    assert step.groups.equal(expected.groups)
    assert_same_gradients(ours, whole)


def test_gradients_add_up_and_are_scaled() -> None:
    ours, whole = method_of(), method_of()
    for _ in range(3):
        in_parts(ours, [5, 4, 3], scale=0.5)
    (1.5 * whole(VIEWS, WHO).loss).backward()
    assert_same_gradients(ours, whole)


@every_way
def test_batch_norm_normalizes_each_part_by_itself_and_moves_its_statistics_once(sizes: list[int]) -> None:
    ours, reference = method_of(nn.BatchNorm1d(8)), method_of(nn.BatchNorm1d(8))
    in_parts(ours, sizes)
    in_one_graph(reference, sizes).backward()
    assert_same_gradients(ours, reference)
    mine, theirs = ours.encoder.network[1], reference.encoder.network[1]
    assert mine.num_batches_tracked.item() == len(sizes)
    assert mine.momentum == 0.1
    torch.testing.assert_close(mine.running_mean, theirs.running_mean, rtol=0, atol=1e-15)
    torch.testing.assert_close(mine.running_var, theirs.running_var, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_learns_the_same_through_sub_batches(name: str) -> None:
    """In eval mode, where batch norm is an affine map: what remains to differ is the method's own."""
    methods = []
    for _ in range(2):
        torch.manual_seed(0)
        options = METHODS.build(name, {}, field="training.method")
        published = options.paper_loss
        loss = LOSSES.build(published.name, published.options, field="training.loss") if published else None
        encoder = MLP(hidden=8, features=6, batch_norm=True).build((FEATURES,))
        methods.append(options.build(encoder, loss).double().eval())
    ours, whole = methods
    views = VIEWS[: options.view_counts[0]]
    who = Samples(WHO.ids, torch.arange(SAMPLES) // 4)
    step = backward(
        ours,
        lambda positions: ours.embed(tuple(view[positions] for view in views)),
        parts_of([5, 4, 3]),
        who,
        scale=1.0,
    )
    expected = whole(views, who)
    expected.loss.backward()
    assert step.loss.item() == pytest.approx(expected.loss.item(), abs=1e-12)
    assert step.groups.equal(expected.groups)
    for (parameter, mine), other in zip(ours.named_parameters(), whole.parameters(), strict=True):
        assert (mine.grad is None) == (other.grad is None), parameter
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad, rtol=0, atol=1e-11, msg=parameter)
    assert any(parameter.grad is not None for parameter in ours.encoder.parameters())


class AgainstKeys(Method):
    """Queries against the keys of an encoder that does not learn; a third embedding is not used at all."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(nn.Linear(FEATURES, 4), 4)
        self.keys = nn.Linear(FEATURES, 4).requires_grad_(False)
        self.double()

    def embed(self, views: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return self.encoder(views[0]), self.keys(views[1]), self.encoder(views[1])

    def contrast(self, embedded: tuple[Tensor, ...], samples: Samples) -> Step:
        logits = F.normalize(embedded[0], dim=1) @ F.normalize(embedded[1], dim=1).T
        loss = F.cross_entropy(logits, torch.arange(len(logits)))
        return Step(loss, embedded[0].detach(), samples.ids)


@every_way
def test_what_is_embedded_without_gradient_gets_none(sizes: list[int]) -> None:
    torch.manual_seed(0)
    ours = AgainstKeys()
    whole = AgainstKeys()
    whole.load_state_dict(ours.state_dict())
    in_parts(ours, sizes)
    whole(VIEWS, WHO).loss.backward()
    assert_same_gradients(ours.encoder, whole.encoder)
    assert ours.keys.weight.grad is None


class Lengths(nn.Module):
    """Multiplies each column: no product of matrices, so that autocast leaves it in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 2, FEATURES))

    def forward(self, views: Tensor) -> Tensor:
        return views.float() * self.scale


@every_way
def test_under_autocast_the_loss_is_differentiated_in_float32(sizes: list[int]) -> None:
    """A backward inside autocast takes the loss's own products in bfloat16: an error of 2 % at temperature 0.05."""
    ours, whole = (
        InBatch(Encoder(Lengths(), FEATURES), nn.Identity(), InfoNCE(temperature=0.05)).train() for _ in range(2)
    )
    with torch.autocast("cpu", torch.bfloat16):
        in_parts(ours, sizes)
    whole(VIEWS, WHO).loss.backward()
    assert_same_gradients(ours, whole, tolerance=1e-6)


def test_under_autocast_weights_cast_in_the_first_pass_still_learn_in_the_second() -> None:
    """Autocast remembers the weights that it has cast, and those of a pass without gradient have none."""
    ours, whole = method_of().float(), method_of().float()
    with torch.autocast("cpu", torch.bfloat16):
        backward(
            ours,
            lambda positions: ours.embed(tuple(view[positions].float() for view in VIEWS)),
            parts_of([5, 4, 3]),
            WHO,
            scale=1.0,
        )
    whole(tuple(view.float() for view in VIEWS), WHO).loss.backward()
    for (name, mine), other in zip(ours.named_parameters(), whole.parameters(), strict=True):
        assert mine.grad is not None and other.grad is not None, name
        # bfloat16 has 8 bits.
        torch.testing.assert_close(mine.grad, other.grad, rtol=0, atol=0.02 * float(other.grad.abs().max()), msg=name)


@pytest.fixture
def in_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def trained(job_of: JobOf, folder: str, **changes: object) -> dict[str, Tensor]:
    checkpoint = train(job_of(folder, epochs=1, warmup_epochs=0, **changes))
    return safetensors.torch.load_file(checkpoint.path / "method.safetensors")


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    "sub_batch_size", [16, *(pytest.param(size, marks=pytest.mark.integration) for size in (10, 3))]
)
def test_a_training_through_sub_batches_ends_with_the_same_weights(job_of: JobOf, sub_batch_size: int) -> None:
    """FaceNet on a perceptron has no batch norm: nine steps of SGD, in float64."""
    changes = {
        "method": "facenet",
        "method_options": {"samples_per_class": 8},
        "encoder": "mlp",
        "encoder_options": {"hidden": 16, "features": 8},
        "optimizer": "sgd",
        "learning_rate": 0.1,
    }
    whole = trained(job_of, "whole", **changes)
    parts = trained(job_of, "parts", sub_batch_size=sub_batch_size, **changes)
    assert whole["projector.0.weight"].dtype == torch.float64
    assert whole.keys() == parts.keys()
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, rtol=0, atol=1e-12, msg=name)


def test_in_a_training_batch_norm_counts_each_sub_batch_once(job_of: JobOf) -> None:
    checkpoint = train(job_of(epochs=1, warmup_epochs=0, sub_batch_size=12))
    state = safetensors.torch.load_file(checkpoint.path / "method.safetensors")
    counts = {int(value) for name, value in state.items() if name.endswith("num_batches_tracked")}
    assert counts == {3 * checkpoint.step}


_MEASURED = """
import numpy as np, torch
from torch import nn
from cl_core.encoders import Encoder
from cl_core.encoders.mlp import MLP
from cl_core.losses.info_nce import InfoNCE
from cl_core.methods import Samples
from cl_core.methods._in_batch import InBatch
from cl_core.registry import LOSSES, METHODS
from cl_core.training.gradients import backward

torch.set_num_threads(1)
samples = 512
encoder = nn.Sequential(nn.Linear(16, 4096), *[nn.Tanh() for _ in range(10)], nn.Linear(4096, 8))
method = InBatch(Encoder(encoder, 8), nn.Identity(), InfoNCE(temperature=0.2))
views = torch.randn(2, samples, 16)

def high_water():
    # Not getrusage: its mark is inherited from the process that started this one.
    [line] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

def peak(pieces):
    parts = np.array_split(np.arange(samples), pieces)
    embed = lambda chosen: method.embed(tuple(views[:, chosen]))
    backward(method, embed, parts, Samples(torch.arange(samples)), scale=1.0)
    return high_water()

floor = peak(64)  # What torch needs of itself, and the gradients.
# The mark only rises: the smaller peak comes first.
print(peak(8) - floor, peak(1) - floor)
"""


@pytest.mark.sweep
def test_eight_sub_batches_need_an_eighth_of_the_memory() -> None:
    """Ten layers of activations of 1,024 rows x 4,096 units are 168 MB at once, and 21 MB in eighths."""
    # Every block is given back to the system at once: what is measured is what is held.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    measured = subprocess.run(
        [sys.executable, "-c", _MEASURED], capture_output=True, text=True, check=True, env=environment
    )
    in_eighths, at_once = map(int, measured.stdout.split())
    layers = 10 * 1024 * 4096 * 4
    assert layers < at_once < 1.5 * layers
    assert in_eighths < at_once / 7
