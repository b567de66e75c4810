"""What the engine costs on top of the training itself, against plain `tune.Tuner`."""
