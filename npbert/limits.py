"""How large a thing may be that a file asks for, in one place.

A file of a few bytes can claim any number. Where its own size backs the claim (a tensor has its bytes), no limit is needed;
the numbers here bound what memory or time is spent on a claim alone. They lie far above what real checkpoints and packs hold.
"""

SEQUENCES = 1_000
"""Beams, or sequences returned, for one prompt: with BERT's vocabulary the scores of a single step take 120 MB then."""

EXPANDED_BYTES = 1 << 32
"""What a compressed array in a port's dump may grow to; a port's largest arrays have some hundred megabytes."""

NORMALIZED_CHARACTERS = 64
"""How many characters a tokenizer's normalizer may make of one: of the longest that Unicode has, 18."""
