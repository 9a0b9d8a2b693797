"""Small data, sweeps and versions that several tests share."""
