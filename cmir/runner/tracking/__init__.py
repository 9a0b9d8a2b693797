"""The runs of a sweep in MLflow."""
