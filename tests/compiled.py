"""The kernel of views, compiled before a test that measures its CPU time."""

import pytest


@pytest.fixture(scope="session")
def compiled_views() -> None:
    """Compile it, unless a session before has."""
    from cl_core.views.image_operations.fused.view_kernel import view_kernel

    view_kernel()
