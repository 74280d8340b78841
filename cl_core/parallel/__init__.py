"""Computing on several workers as on one: collectives with gradients, synchronized batch norm."""
