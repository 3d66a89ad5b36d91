"""Aligning an encoder: from prepared pairs through the loop to what a finished run leaves."""
