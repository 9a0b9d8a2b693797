"""The data card of a dataset folder: what is in it, as values and as text."""
