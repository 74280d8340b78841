"""Embed many samples with a registered model into one Parquet file, and search it."""
