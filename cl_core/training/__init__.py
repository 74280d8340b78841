"""Training: loop, optimizers, schedule, checkpoints, health."""
