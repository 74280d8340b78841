"""Ingestion: turn the inputs of a source into an immutable snapshot."""
