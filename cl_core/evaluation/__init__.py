"""Evaluation: frozen features, their scores with intervals, and the gate that compares champion and challenger."""
