"""Which config is tried next and which trial is stopped: the whole space file, samplers, schedulers."""
