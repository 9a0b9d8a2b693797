"""Runs trials on Ray, and keeps their record: study, storage, placement, workers, weights."""
