"""A sweep's verdict on each modality: measured, put into sentences, drawn."""
