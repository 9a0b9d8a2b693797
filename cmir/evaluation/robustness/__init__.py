"""Scores of a trained model on corrupted inputs."""
