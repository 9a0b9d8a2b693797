"""Where and when trials run: Ray Tune, its processors and GPUs, early stopping, the worker."""
