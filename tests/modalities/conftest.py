"""Fixtures of the contract: a case for each modality, with the plug-in installed."""

import sys
from collections.abc import Iterator

import pytest
from modalities.cases import MAKERS, NAMES, PLUGIN, Case, Given, GivenByName

from cl_core.hashing.code_digest import forget_code
from cl_core.registry import MODALITIES, SOURCES


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another distribution, installed for one test, and a source of given samples."""

    def forget() -> None:
        for registry in (MODALITIES, SOURCES):
            vars(registry).pop("_plugins", None)
            for name in ("beads", "bead_lines", "necklace", "necklace_lines", "given", "given_by_name"):
                registry._classes.pop(name, None)
        forget_code()
        for module in [name for name in sys.modules if name.startswith("their_beads")]:
            del sys.modules[module]

    with monkeypatch.context() as patch:
        patch.syspath_prepend(PLUGIN)
        patch.setattr(Given, "payloads", [])
        forget()
        SOURCES.register("given")(Given)
        SOURCES.register("given_by_name")(GivenByName)
        yield
    forget()


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest, plugin: None, compiled_texts: None) -> Case:
    return MAKERS[request.param]()
