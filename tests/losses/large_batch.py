"""InfoNCE of one large batch in a process of its own: what it takes, and how right it is. Prints JSON."""

import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from cl_core.losses import Relation, relation_within
from cl_core.losses.info_nce import InfoNCE

FEATURES, TEMPERATURE, CHECKED = 128, 0.2, 8


def memory_bytes(which: str) -> int:
    """VmRSS, this process's memory now, or VmHWM, the most since it was last forgotten.

    `ru_maxrss` would begin with what the process had that started this one.
    """
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(which)]
    return 1024 * int(line.split()[1])


def two_views(samples: int) -> tuple[torch.Tensor, Relation]:
    """Unit rows, each sample's second view near its first; samples named as hashes are, with 64 bits."""
    generator = torch.Generator().manual_seed(0)
    first = F.normalize(torch.randn(samples, FEATURES, generator=generator), dim=1)
    second = first + 0.05 * torch.randn(samples, FEATURES, generator=generator)
    names = torch.randint(-(2**63), 2**63 - 1, (samples,), generator=generator)
    return F.normalize(torch.cat([first, second]), dim=1).requires_grad_(), relation_within(names.repeat(2), views=2)


def by_the_equation(rows: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """In float64, a few rows at a time: losses of all anchors, and the gradient of their mean by the chosen rows."""
    count, unit = len(rows), rows.detach().double()
    other_view = torch.arange(count).roll(count // 2)
    lse = torch.empty(count, dtype=torch.float64)
    losses = torch.empty(count, dtype=torch.float64)
    for some in torch.arange(count).split(512):
        logits = (unit[some] @ unit.T / TEMPERATURE).scatter_(1, some[:, None], -torch.inf)
        lse[some] = logits.logsumexp(1)
        losses[some] = lse[some] - logits.gather(1, other_view[some, None])[:, 0]
    logits = (unit[chosen] @ unit.T / TEMPERATURE).scatter_(1, chosen[:, None], -torch.inf)
    # A pair's similarity is in both of its rows' softmax; each row is its positive's positive.
    to_logits = (logits - lse[chosen, None]).exp() + (logits - lse).exp()
    to_logits.scatter_add_(1, other_view[chosen, None], torch.full((len(chosen), 1), -2.0, dtype=torch.float64))
    to_unit = to_logits @ unit / TEMPERATURE / count
    along = (to_unit * unit[chosen]).sum(1, keepdim=True)  # Unit rows do not change with their length.
    return losses, to_unit - along * unit[chosen]


def seconds_of_products(count: int) -> float:
    """What the matrix products of the equation take by themselves: one for all similarities, two for the gradient."""
    first, second = torch.rand(512, FEATURES), torch.rand(512, FEATURES)
    took = []
    for _ in range(20):
        began = time.process_time()
        for _ in range(10):
            first @ second.T
        took.append((time.process_time() - began) / 10)
    return 3 * (count / 512) ** 2 * sorted(took)[10]


def main(count: int, *, check: bool) -> None:
    """Warm up on a small batch, measure the large one, and compare."""
    torch.set_num_threads(1)
    loss = InfoNCE(temperature=TEMPERATURE)
    small, relation = two_views(512)
    loss(small, small, relation).mean.backward()
    rows, relation = two_views(count // 2)
    Path("/proc/self/clear_refs").write_text("5")  # Forgets the peak.
    before, began = memory_bytes("VmRSS"), time.process_time()
    value = loss(rows, rows, relation).mean
    value.backward()
    found = {"extra_bytes": memory_bytes("VmHWM") - before, "seconds": time.process_time() - began}
    found |= {"rows_bytes": rows.nbytes, "products_seconds": seconds_of_products(count)}
    if check:
        chosen = torch.arange(0, count, count // CHECKED)
        losses, gradient = by_the_equation(rows, chosen)
        error = (rows.grad[chosen] - gradient).abs().max() / gradient.abs().max()
        found |= {"value_error": abs(value.item() / losses.mean().item() - 1), "gradient_error": error.item()}
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), check=sys.argv[2:] == ["check"])
