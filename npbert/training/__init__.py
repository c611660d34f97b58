"""How a model learns: the optimizer's step, how large the steps are, what is masked, and the loop around it all.

optimizer = npbert.training.AdamW(model, lr=5e-5)
out, grads = model.gradients(**inputs, labels=labels, rng=rng)
npbert.training.clip_gradients(grads, 1.0)
optimizer.step(grads)
"""

from npbert.training.batches import padded, similar_lengths
from npbert.training.lessons import Lessons
from npbert.training.loop import Progress, Run, Settings, steps
from npbert.training.optimizer import AdamW, clip_gradients
from npbert.training.schedule import SCHEDULES, Schedule, constant, cosine, linear
from npbert.training.train import train

__all__ = [
    "SCHEDULES",
    "AdamW",
    "Lessons",
    "Progress",
    "Run",
    "Schedule",
    "Settings",
    "clip_gradients",
    "constant",
    "cosine",
    "linear",
    "padded",
    "similar_lengths",
    "steps",
    "train",
]
