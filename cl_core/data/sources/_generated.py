"""Samples that are computed from a number and a seed."""

from pydantic import Field

from cl_core.data.sources import Source


class Generated(Source):
    """A source that reads nothing: its options decide every sample."""

    count: int = Field(1000, ge=1, le=100_000_000, title="Samples")
    """Number of samples."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Decides every sample."""

    def fingerprint(self, location: str) -> str:
        """Return a constant: the options decide everything."""
        return ""

    def number_of_inputs(self, location: str) -> int:
        """Return the number of the options."""
        return self.count
