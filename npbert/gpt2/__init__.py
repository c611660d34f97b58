"""The architecture of GPT-2: one function for each module of the reference, on the same `npbert.ops` as BERT's.

Read it beside `npbert.bert`: README.md here shows the two layers next to each other. The legend of dimensions is that of
`npbert.ops`; E is the length of an encoder's output that the model may read. The first argument of every function is the
Module that it computes: see `npbert.module`.

Radford et al. 2019, "Language models are unsupervised multitask learners".
"""
