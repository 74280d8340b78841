"""Tasks: where a step runs, how it is retried, and what it tells Prefect."""
