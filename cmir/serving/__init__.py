"""What a registered version carries along to predict: no Ray, no Optuna, no sweep."""
