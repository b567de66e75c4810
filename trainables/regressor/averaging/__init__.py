"""Averages of weights: along a fit, and over its best evaluations."""
