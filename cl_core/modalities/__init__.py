"""Modalities: from hostile bytes to arrays, one kind of data per file."""
