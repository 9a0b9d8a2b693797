"""Environments: perturbed views of a sample, and partitions of the samples."""
