"""Computing on several workers as on one, collectives batch norm; and kernels for several threads."""
