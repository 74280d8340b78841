"""Embedding many images with a finished model: into one Parquet file, and back to what is alike."""
