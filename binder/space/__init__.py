"""Unit vectors of one space: functions on arrays in `vectors`, the class `Embeddings` in `embeddings`. NumPy only."""
