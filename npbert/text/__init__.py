"""What the tokenizer is made of: its vocabulary, its files, the meaning of its options, its answers."""
