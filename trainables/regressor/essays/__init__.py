"""Essays as a model reads them: marked, cut, tokenised, and in batches of like length."""
