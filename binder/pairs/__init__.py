"""Checking and cleaning a manifest of pairs before training."""

from binder.pairs.checking import PairsReport, check_pairs

__all__ = ["PairsReport", "check_pairs"]
