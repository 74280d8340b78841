"""Digits as rows of 64 numbers: a training in a second, in which nothing knows that they are images.

scikit-learn's `load_digits`: 1,797 digits of 8 x 8 pixels. Training and held-out ones are by different writers.
"""

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from cl_core.columns import Column, Columns, SamplePool
from cl_core.data.sampling import class_balanced_batches, shuffled_batches
from cl_core.encoders.mlp import MLP
from cl_core.methods import Samples
from cl_core.rng import SampleRng
from cl_core.views.dacl_mixup import DACLMixupViews

TRAIN, HELD_OUT, BATCH = 1500, 256, 100

_loaded = load_digits()
ROWS = torch.from_numpy(_loaded.data / 16).float()
LABELS = torch.from_numpy(_loaded.target).long()
IDS = np.random.default_rng(0).integers(0, 2**63, len(ROWS)).astype(np.uint64)
POOL = SamplePool(Columns({"digit": Column(ROWS[:TRAIN].numpy())}))


def build(options, loss):
    """The method around a perceptron for vectors of 64 numbers."""
    torch.manual_seed(0)
    return options.build(MLP(hidden=128, features=64, batch_norm=True).build((64,)), loss)


def itself(positions, epoch):
    """The rows as they are."""
    del epoch
    return (ROWS[positions],)


def mixtures(positions, epoch, *, alpha=0.5):
    """DACL's two views."""
    ids = IDS[positions]
    rng = SampleRng(0, epoch, ids)
    (partners,) = POOL.partners(rng, count=2)
    return DACLMixupViews(alpha=alpha).mixed(ROWS[positions], partners, rng=rng)


def samples(positions):
    return Samples(torch.from_numpy(IDS[positions].astype(np.int64)), LABELS[positions])


def train(method, views, *, epochs, samples_per_class=0):
    """Batches of 100, AdamW at 0.003; the last step."""
    optimizer = torch.optim.AdamW(method.parameters(), lr=3e-3)
    if samples_per_class:
        order = partial(class_balanced_batches, labels=LABELS[:TRAIN].numpy(), samples_per_class=samples_per_class)
    else:
        order = partial(shuffled_batches, rows=TRAIN)
    for epoch in range(epochs):
        for batch in order(seed=0, epoch=epoch, batch_size=BATCH):
            optimizer.zero_grad()
            step = method(views(batch, epoch), samples(batch))
            step.loss.backward()
            optimizer.step()
    return step


@torch.no_grad()
def on_held_out(method, views):
    """A step on digits that are not trained on."""
    method.eval()
    positions = np.arange(TRAIN, TRAIN + HELD_OUT)
    step = method(views(positions, 1000), samples(positions))
    method.train()
    return step


def nearest(step, *, rows=None):
    """How often the most similar other one of the first rows is of the same group."""
    unit, groups = F.normalize(step.embeddings[:rows], dim=1), step.groups[:rows]
    similarities = (unit @ unit.T).fill_diagonal_(-2)
    return (groups[similarities.argmax(1)] == groups).double().mean().item()
