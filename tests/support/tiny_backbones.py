"""Tiny language models with random weights, saved as transformers saves real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tests.support.made_data.learning_data import learning_samples, write_learning

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("good", "bad", "film", "very", "not", "a", "words", "of", *map(str, range(150)))
LONGEST = 24
WIDTH = 16
LAYERS = 2
# Three that differ in how they are built; `EVERY_FAMILY` where a test is about reading models.
FAMILIES = ("bert", "albert", "deberta-v2")
EVERY_FAMILY = (*FAMILIES, "roberta", "xlm-roberta", "electra", "mpnet", "deberta", "modernbert")


def write_backbone(folder: Path, family: str = "bert", dropout: float = 0.0, seed: int = 0) -> Path:
    """A model of a family with its tokenizer; skips the test where transformers is missing."""
    transformers = pytest.importorskip("transformers", reason="needs the extra cmir-sweep[text]")
    from transformers.utils import logging

    logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModel.from_config(_settings(transformers, family, dropout))
        model.save_pretrained(folder)
    tokenizer = _word_pieces(folder.parent) if family == "bert" else _unigram()
    tokenizer.save_pretrained(folder)
    return folder


def write_spoken(folder: Path, heldout_seed: int = 0) -> Path:
    """The learning data with texts in which one word tells the sign of the label."""
    samples, rng = learning_samples(heldout_seed=heldout_seed), np.random.default_rng(3)
    texts = [
        " ".join(["a", "film"] * rng.integers(0, 4) + [word] + ["very"] * rng.integers(0, 3))
        for word in np.where(samples["label"].to_numpy() > 0, "good", "bad")
    ]
    return write_learning(
        folder,
        samples=samples.with_columns(pl.Series("raw_text", texts)),
        heldout_seed=heldout_seed,
    )


def _settings(transformers: Any, family: str, dropout: float) -> Any:
    relative = {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "type_vocab_size": 0,
    }
    # RoBERTa and its kin count positions from behind the padding's id.
    counted = {"pad_token_id": 0, "max_position_embeddings": LONGEST + 1}
    special: dict[str, dict[str, Any]] = {
        "bert": {},
        "albert": {"embedding_size": 8},
        "deberta-v2": {**relative, "position_buckets": 8, "conv_kernel_size": 3},
        "roberta": counted,
        "xlm-roberta": counted,
        "electra": {"embedding_size": 8},
        # Its positions begin at 2 whatever the padding's id.
        "mpnet": {"max_position_embeddings": LONGEST + 2, "pad_token_id": 1},
        "deberta": relative,
        "modernbert": {
            "pad_token_id": 0,
            "global_attn_every_n_layers": 2,
            "local_attention": 8,
            "attention_dropout": dropout,
            "mlp_dropout": dropout,
        },
    }
    common = {"max_position_embeddings": LONGEST, "intermediate_size": 32}
    return transformers.AutoConfig.for_model(
        family,
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        # Transformers' own .02 makes all tokens of so small a model look alike.
        initializer_range=0.5,
        **(common | special[family]),
    )


def _word_pieces(folder: Path) -> Any:
    from transformers import BertTokenizerFast

    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join((*SPECIAL, *WORDS)), encoding="utf-8")
    return BertTokenizerFast(vocab=str(vocabulary))


def _unigram() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *WORDS))}
    raw = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    raw.pre_tokenizer = Whitespace()
    ends = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    raw.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(tokenizer_object=raw, **dict(zip(names, SPECIAL, strict=True)))
