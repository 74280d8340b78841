"""Flows: what happens in which order."""
