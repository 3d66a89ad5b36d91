"""Frozen models: the space that everything is aligned to, their own modalities, trunks to build on."""
