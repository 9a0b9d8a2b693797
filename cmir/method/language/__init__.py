"""Pretrained language models: found, tokenised, frozen or fine-tuned."""
