"""Feature files of the field: one module for each published layout."""
