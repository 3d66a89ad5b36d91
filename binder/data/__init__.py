"""From a manifest to vectors: rows, items, columns, splits, encoding, the cache."""
