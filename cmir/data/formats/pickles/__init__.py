"""Pickles of strangers: allow-listed, and mapped instead of read."""
