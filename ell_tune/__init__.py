"""ell-tune: hyperparameter search, cross-validation and ensembling for essay scorers."""

__version__ = "0.1.0"
