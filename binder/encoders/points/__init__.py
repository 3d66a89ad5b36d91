"""Encoders of sets of points."""
