"""What each process of a world does, and how a world is started. Apart from the tests: workers import this alone."""

from functools import partial

import components
import forked
import gloo
import torch
import torch.multiprocessing as mp
from torch import nn

from cl_core.encoders import Encoder
from cl_core.losses.info_nce import InfoNCE
from cl_core.methods import Samples
from cl_core.methods._in_batch import InBatch
from cl_core.parallel import collectives

TEMPERATURE = 0.2
LEARNING_RATE, MOMENTUM, STEPS = 0.3, 0.9, 20
ROWS, FEATURES = 12, 5


def samples(step):
    """(2, 12, 5) two views of the whole batch of a step, and the ids of its samples."""
    generator = torch.Generator().manual_seed(100 + step)
    first = torch.randn(ROWS, FEATURES, generator=generator, dtype=torch.float64)
    second = first + 0.3 * torch.randn(ROWS, FEATURES, generator=generator, dtype=torch.float64)
    return torch.stack([first, second]), 1000 * step + torch.randperm(ROWS, generator=generator)


def networks():
    """Encoder and projector without batch norm, in float64, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    layers = [nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)]
    network = nn.Sequential(*layers).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 3)
    return network[:3], network[3:]


def simclr():
    encoder, projector = networks()
    return InBatch(Encoder(encoder, 8), projector, InfoNCE(temperature=TEMPERATURE))


def share_of(step, shares):
    """This worker's part of the batch of a step."""
    views, ids = samples(step)
    start = sum(shares[: collectives.rank()])
    part = slice(start, start + shares[collectives.rank()])
    return tuple(views[:, part]), Samples(ids[part])


def train(shares):
    """Losses of this worker, its averaged gradients of the first step, and weights after all steps."""
    method = simclr()
    optimizer = torch.optim.SGD(method.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    losses, gradients = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = method(*share_of(step, shares)).loss
        loss.backward()
        collectives.average_gradients(method.parameters())
        if step == 0:
            gradients = [parameter.grad.clone() for parameter in method.parameters()]
        optimizer.step()
        losses.append(collectives.average(loss).item())
    return losses, gradients, [parameter.detach().clone() for parameter in method.parameters()]


def gather(shares):
    """Everyone's rows, and the gradient of this worker's when worker r weighs gathered row k by (r + 1) (k + 1)."""
    start = sum(shares[: collectives.rank()])
    own = torch.arange(start, start + shares[collectives.rank()], dtype=torch.float64)[:, None].repeat(1, 2)
    own.requires_grad_()
    everyone = collectives.all_gather(own)
    weights = (collectives.rank() + 1) * torch.arange(1, len(everyone) + 1, dtype=torch.float64)[:, None]
    (everyone * weights).sum().backward()
    return everyone.detach(), own.grad


def summed(shares):
    """The sum of everyone's squares, and the gradient of this worker's rows when every worker uses the sum."""
    start = sum(shares[: collectives.rank()])
    own = torch.arange(start, start + shares[collectives.rank()], dtype=torch.float64).requires_grad_()
    total = collectives.all_sum(own.square().sum())
    (total**2 / collectives.world_size()).backward()
    return total.item(), own.grad


def neighbor(shares):
    """Gradient of a tensor that is added to the gathered rows, and that others must not reach."""
    own = torch.zeros(shares[collectives.rank()], 1, dtype=torch.float64, requires_grad=True)
    added = torch.zeros(sum(shares), 1, dtype=torch.float64, requires_grad=True)
    # The gradient of a sum goes to both summands as one and the same tensor.
    ((collectives.all_gather(own) + added) ** 2 + 3 * (collectives.all_gather(own) + added)).sum().backward()
    return own.grad, added.grad


def means(shares):
    """The mean of 0, 1, 2, ... shared out unevenly, and the gradient of the scale they are multiplied by."""
    start = sum(shares[: collectives.rank()])
    terms = torch.arange(start, start + shares[collectives.rank()], dtype=torch.float64)
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    loss = collectives.global_mean((scale * terms).sum(), torch.tensor(float(len(terms)), dtype=torch.float64))
    loss.backward()
    return collectives.average(loss).item(), collectives.average(scale.grad).item()


def facts(shares):
    """What the door says of the world, and the sum of 1, 2, ... over workers."""
    rank = torch.tensor(float(collectives.rank() + 1))
    total = collectives.all_reduce_sum(rank)
    collectives.barrier()
    return collectives.rank(), collectives.world_size(), rank.item(), total.item()


CASES = {case.__name__: case for case in (train, gather, neighbor, summed, means, facts)}
CASES |= {name: partial(components.train, name) for name in components.names()}


def _work(rank, shares, names, rendezvous, folder):
    torch.set_num_threads(1)
    with gloo.process_group(rendezvous=rendezvous, rank=rank, world_size=len(shares)):
        results = {name: CASES[name](shares) for name in names}
    torch.save(results, folder / f"{rank}.pt")


def results_of_world(shares, names, folder):
    """Start one process per share of a batch, let them do the named cases, and collect what each of them gives."""
    workers = len(shares)
    forked.serve()
    arguments = (shares, names, folder / "rendezvous", folder)
    mp.start_processes(_work, arguments, nprocs=workers, start_method="forkserver")
    by_rank = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(workers)]
    return {name: [results[name] for results in by_rank] for name in names}
