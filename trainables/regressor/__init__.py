"""The pooled transformer regressor: a pretrained encoder, a pooling, and one linear head for all targets.

It satisfies the contract of `ell_tune/trainable.py`. Read it in this order: `config.py` (every
hyperparameter), `training.py` (the fit, one page), then the file of the part that interests you.
"""

from trainables.regressor.config import Config
from trainables.regressor.predicting import predict
from trainables.regressor.preparing import preparation, prepare
from trainables.regressor.training import fit

MEASURES = ("num_parameters", "peak_memory_mib", "seconds_per_essay")

__all__ = ["MEASURES", "Config", "fit", "predict", "preparation", "prepare"]
