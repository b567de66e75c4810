"""Measurements of ell-tune against what its users would otherwise run. Not part of the installed package."""
