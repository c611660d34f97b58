"""The tokenizer and its parts. Begin with tokenizer.py."""
