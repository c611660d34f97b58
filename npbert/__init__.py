"""BERT written out as plain NumPy."""
