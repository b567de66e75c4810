"""What ell-tune tunes: each module here satisfies the contract of `ell_tune/trainable.py`."""
