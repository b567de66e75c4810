"""What is trained, at which rate, by which optimiser, over which schedule."""
