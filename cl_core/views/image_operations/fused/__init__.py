"""Views in one pass, compiled by numba: each view is made while its pixels are in the cache of the processor.

`image_operations.chain` computes the same with torch: to 5e-4 of a value in 0..1, except where a value is at the
threshold of the solarization. Nothing here is imported unless it is used, so that numba may be missing.
"""
