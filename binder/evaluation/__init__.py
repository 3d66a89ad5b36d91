"""How good an alignment is: retrieval, zero-shot classification, what is confused with what."""
