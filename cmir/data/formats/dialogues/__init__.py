"""Features of conversations: utterances by dialogue, with speakers; and clips of series."""
