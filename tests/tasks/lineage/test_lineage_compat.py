"""Prefect's engines still begin their own messages as we know them: an upgrade that changes one fails here first."""

import inspect

import pytest
from prefect import flow_engine, task_engine

from tasks.lineage.compat import ENGINE_MESSAGES


@pytest.mark.parametrize("message", ENGINE_MESSAGES)
def test_prefects_engines_write_the_messages_that_are_left_out(message: str) -> None:
    assert any(f'"{message}' in inspect.getsource(engine) for engine in (flow_engine, task_engine))
