"""Pretrained models: found, checked, cut at a layer, and what of them is trained."""
