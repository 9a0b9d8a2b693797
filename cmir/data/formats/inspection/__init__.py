"""Data is looked at, not only its shape: what a file, an id, a label, a step of features is."""
