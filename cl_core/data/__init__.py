"""Datasets: from a source into an immutable snapshot, and from a snapshot to the trainer."""
