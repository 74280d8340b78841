"""The learning rate as a pure function of the step, so that no state needs saving."""

import math


def learning_rate(step: int, *, peak: float, warmup_steps: int, total_steps: int) -> float:
    """Return the learning rate: linear warm-up to the peak, then half a cosine down to zero.

    Args:
        step: From 0; the step about to be taken.
        peak: Largest rate, reached at step `warmup_steps - 1` or at step 0 without warm-up.
        warmup_steps: Length of the rise, less than `total_steps`.
        total_steps: Length of the training.

    Returns:
        Above 0 at every step: the last step still moves the weights.

    Source: Loshchilov & Hutter 2016, "SGDR", arXiv:1608.03983, Eq. 5, one period.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps)))
