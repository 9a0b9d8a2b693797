"""Sweeps with two objectives: the front of both, the rule that picks from it, the picture."""
