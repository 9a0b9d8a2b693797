"""Made-up reviews whose words follow the label, some of them more than others."""

from __future__ import annotations

import numpy as np
import polars as pl

GOOD, BAD = [f"good{k}" for k in range(12)], [f"bad{k}" for k in range(12)]
FILLER = [f"word{k}" for k in range(40)]


def biased_samples(count: int = 400, seed: int = 0, task: str = "regression") -> pl.DataFrame:
    """Columns `id`, `split`, `label`, `raw_text`, `video`; 8 words a text, 3 of them of opinion."""
    rng = np.random.default_rng(seed)
    labels = rng.uniform(-3, 3, count).astype(np.float32)
    if task == "binary":
        labels = (labels > 0).astype(np.float32)
    centre = 0.5 if task == "binary" else 0.0
    texts = []
    for label in labels:
        lists = [GOOD if (rng.random() < 0.75) == (label > centre) else BAD for _ in range(3)]
        words = [str(rng.choice(words)) for words in lists] + list(rng.choice(FILLER, 5))
        texts.append(" ".join(words))
    split = rng.choice(["train", "id_val", "id_test"], count, p=[0.7, 0.1, 0.2])
    return pl.DataFrame(
        {
            "id": [f"v{k % 40}$_${k}" for k in range(count)],
            "split": split,
            "label": labels,
            "raw_text": texts,
            "video": [f"v{k % 40}" for k in range(count)],
        }
    )
