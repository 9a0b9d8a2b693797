"""What a promoted version is shown with: card, tables, plots."""
