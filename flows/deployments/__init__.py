"""Deployments: the schema of prefect.yaml, and applying it to a Prefect server."""
