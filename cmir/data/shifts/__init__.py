"""Out-of-distribution splits: how they are made, and how strong they are."""
