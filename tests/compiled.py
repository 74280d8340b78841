"""Kernels, compiled before a test whose CPU time is measured."""

import pytest
from built_once import built_once


@pytest.fixture(scope="session")
def compiled_views(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile that of views of images, unless it is on the disk; of several processes one does, and the others wait."""
    from cl_core.views.image_operations.fused.view_kernel import view_kernel

    built_once(tmp_path_factory, "kernel", lambda _: view_kernel())
    view_kernel()


@pytest.fixture(scope="session")
def compiled_texts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile that of views of texts; see `compiled_views`."""
    from cl_core.modalities._text_kernel import text_kernel

    built_once(tmp_path_factory, "text_kernel", lambda _: text_kernel())
    text_kernel()
