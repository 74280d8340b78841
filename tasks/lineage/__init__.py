"""Lineage: why a step ran, and where a version comes from."""
