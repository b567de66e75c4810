"""What a command runs on the engine: a search, a retraining."""
