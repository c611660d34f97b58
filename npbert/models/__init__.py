"""What users construct and call: models with checked inputs and named outputs.

READ `base.py` first (a configuration and weights), then `bert.py` (how a model is called) and `heads.py` (the task models).
`auto.py` picks the class that a checkpoint is a model of.
"""
