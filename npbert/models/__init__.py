"""What users construct and call: models with checked inputs and named outputs.

READ `base.py` first (a configuration and weights), then `calling.py` (how a model is called), `bert.py` (the base model) and
`heads.py` (the task models); `kinds.py` has what task models of one kind share. `gpt2.py` has the models of GPT-2.
`auto.py` picks the class that a checkpoint is a model of.
"""
