"""The kernel of views, compiled before a test whose CPU time is measured."""

import pytest
from built_once import built_once


@pytest.fixture(scope="session")
def compiled_views(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile it, unless it is on the disk; of several processes one compiles, and the others wait for it."""
    from cl_core.views.image_operations.fused.view_kernel import view_kernel

    built_once(tmp_path_factory, "kernel", lambda _: view_kernel())
    view_kernel()
