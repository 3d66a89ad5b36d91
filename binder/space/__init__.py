"""Vectors of one space: what can be done with them, and what they are made of. NumPy only."""
