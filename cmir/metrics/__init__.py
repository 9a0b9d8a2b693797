"""Metrics as pure functions of arrays; they know no data set and no network."""
