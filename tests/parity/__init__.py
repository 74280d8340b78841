"""Parity: each loss and method part beside independent libraries, in value and gradient."""
