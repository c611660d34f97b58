"""How a model learns: the optimizer's step, how large the steps are, what is masked, and the loop around it all.

optimizer = npbert.training.AdamW(model, lr=5e-5)
out, grads = model.gradients(**inputs, labels=labels, rng=rng)
npbert.training.clip_gradients(grads, 1.0)
optimizer.step(grads)
"""

from npbert.training.optimizer import AdamW, clip_gradients
from npbert.training.schedule import SCHEDULES, Schedule, constant, cosine, linear

__all__ = ["SCHEDULES", "AdamW", "Schedule", "clip_gradients", "constant", "cosine", "linear"]
