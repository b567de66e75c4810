"""Model folders: prediction, and pseudo-labels."""
