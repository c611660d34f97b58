"""Checkpoints in and out: one file per format, each answering a dictionary from tensor names to arrays."""
