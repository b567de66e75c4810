"""What training minimises: `criteria.py` (errors of scores), `agreement.py` (order of essays), `loss.py` (all)."""

from trainables.regressor.losses.loss import Loss, LossConfig, check_batch_size

__all__ = ["Loss", "LossConfig", "check_batch_size"]
