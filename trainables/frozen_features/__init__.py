"""Frozen features: SVR, ridge or kernel ridge on what encoders that are not trained say of an essay.

After RAPIDS SVR (cdeotte, FB3: embeddings of five frozen models, one SVR per target, cross-validated at .4505), and the
4th place's forward selection of frozen models for it. Encoding is the expensive part and is done once per study; a
trial then takes seconds on a CPU.

It satisfies the contract of `ell_tune/trainable.py`. Read it in this order: `config.py` (every hyperparameter),
`training.py` (the fit), `encoding.py` (once per study), then the file of the part that interests you.
"""

from trainables.frozen_features.config import Config
from trainables.frozen_features.predicting import predict
from trainables.frozen_features.preparing import preparation, prepare
from trainables.frozen_features.training import fit

MEASURES = ("num_parameters", "seconds_per_essay")

__all__ = ["MEASURES", "Config", "fit", "predict", "preparation", "prepare"]
