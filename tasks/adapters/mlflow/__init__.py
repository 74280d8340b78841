"""The only door to MLflow: runs, registered versions, aliases, decisions."""
