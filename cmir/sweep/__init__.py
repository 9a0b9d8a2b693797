"""The sweep room: space, study, scheduling on Ray Tune, tracking; never sees held-out data."""
