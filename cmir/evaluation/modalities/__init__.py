"""A verdict on each modality: does what a model takes from it hold for new groups?"""
