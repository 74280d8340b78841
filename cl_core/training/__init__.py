"""Training: loop, optimisers, schedule, checkpoints, monitors."""
