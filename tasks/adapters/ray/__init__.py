"""The only door to Ray: placement, collectives and restarts of training workers."""
