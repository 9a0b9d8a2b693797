"""Registered versions: aliases and their history, recorded access to held-out data."""
