"""Encoders of measurements on a grid."""
