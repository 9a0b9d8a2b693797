"""A verdict on each modality: whether what a model takes from it holds for new groups."""
