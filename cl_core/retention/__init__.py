"""Retention: decide which artifacts to delete."""
