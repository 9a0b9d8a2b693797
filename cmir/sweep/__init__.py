"""A sweep: prepared, run, its findings published; never sees held-out data."""
