"""The method CmIR: networks, environments, losses, training. Knows data, not sweeps."""
