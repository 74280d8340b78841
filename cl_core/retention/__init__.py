"""Retention: decide which artifacts nothing refers to any more."""
