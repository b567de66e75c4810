"""Essays, their scores and their folds; and invented ones."""
