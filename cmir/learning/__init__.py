"""The learning room: environments, network, losses, training, metrics. Knows data, not sweeps."""
