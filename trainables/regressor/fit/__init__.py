"""The parts of a fit, which `trainables.regressor.training` runs."""
