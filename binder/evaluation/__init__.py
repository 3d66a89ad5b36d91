"""Evaluation: retrieval metrics, zero-shot classification, confusions."""
