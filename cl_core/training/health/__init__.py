"""Watch a training for collapse: metrics of a batch, rules that read them, the detector that stops it."""
