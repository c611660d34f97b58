"""The architecture of BERT: one function for each module of the reference.

Read it from the top (`embeddings`) or from the bottom (`bert`). The mathematics is in `npbert.ops`, whose legend of dimensions
holds here too; E is the length of an encoder's output that a decoder reads. The first argument of every function is the
Module that it computes: see `npbert.module`.

Devlin et al. 2018, "BERT: Pre-training of deep bidirectional transformers for language understanding".
"""
