"""Care for a manifest of pairs before it trains anything."""

from binder.pairs.checking import PairsReport, check_pairs

__all__ = ["PairsReport", "check_pairs"]
