"""Kept until the console script is installed anew: it is `flows.cli.app:main`."""

from flows.cli.app import main

__all__ = ["main"]
