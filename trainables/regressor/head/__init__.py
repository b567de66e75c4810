"""From pooled features to scores."""
