"""What Counterpoint uses of Prefect beyond its documented interface; test_lineage_compat.py checks it."""

ENGINE_MESSAGES = ("Finished in state", "Created task run", "Task run failed", "Beginning")
"""Beginnings of the messages that Prefect's engines write into the log of a run; the others are those of our steps.

Prefect does not mark its own messages: the same logger writes both.
https://github.com/PrefectHQ/prefect/blob/3.8.8/src/prefect/task_engine.py
"""
