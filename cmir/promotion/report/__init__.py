"""The artifacts of a promoted version: model card, tables, plots."""
