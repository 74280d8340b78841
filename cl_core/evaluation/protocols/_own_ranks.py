"""Ranks of what belongs to a query among candidates, by cosine."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

# Cosines that are held at a time: 16 MiB.
_COSINES = 1 << 22


def own_ranks(
    queries: NDArray[np.float32],
    candidates: NDArray[np.float32],
    of_queries: NDArray[np.int64],
    of_candidates: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return how many candidates of others are as similar to each query as the nearest of its own, or more.

    So of equal similarities the own one comes last, and embeddings that have collapsed find nothing.

    Args:
        queries: (N, D) float32.
        candidates: (M, D) float32.
        of_queries: (N,) what each query is of; each has a candidate.
        of_candidates: (M,) what each candidate is of.

    Returns:
        (N,) int64, 0 where one of the query's own is nearest.
    """
    unit, bank = (F.normalize(torch.tensor(rows), dim=1) for rows in (queries, candidates))
    of_unit, of_bank = torch.from_numpy(of_queries), torch.from_numpy(of_candidates)
    rows = max(1, _COSINES // len(bank))
    ranks = [torch.empty(0, dtype=torch.int64)]
    for start in range(0, len(unit), rows):
        cosines = unit[start : start + rows] @ bank.T
        is_own = of_unit[start : start + rows, None] == of_bank
        nearest_own = cosines.where(is_own, -torch.inf).amax(dim=1, keepdim=True)
        ranks.append(((cosines >= nearest_own) & ~is_own).sum(dim=1))
    return torch.cat(ranks).numpy()
