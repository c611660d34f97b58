"""Let the reference run GPT-2: what tests/gpt2 holds npbert against.

    python tools/make_expected_gpt2.py        # needs transformers and torch; writes tests/data/expected/gpt2

forward.npz holds every output, every module's output and every gradient of the cases in tests/gpt2/cases.py; generated.json
what the reference wrote; checkpoint/ is a tiny model as the reference saves it.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.gpt2 import cases, reference


def forward(name: str) -> dict[str, np.ndarray]:
    ours, arguments = cases.forward_case(name)
    theirs = reference.build(cases.FORWARD[name][0], ours.config.to_dict(), ours.state_dict())
    with reference.hooked(theirs) as modules:
        out = theirs(**reference.converted(theirs, arguments))
    total = out.loss if "labels" in arguments else (out.last_hidden_state * out.last_hidden_state.detach()).sum()
    total.backward()
    main = out.last_hidden_state if "labels" not in arguments else out.logits
    # The reference computes the language model's loss in float32, so its gradients are no better than that.
    gradients = {f"grad:{weight}": x.grad.numpy() for weight, x in theirs.named_parameters() if x.grad is not None}
    found = {"out": main.detach().numpy(), **modules, **gradients}
    return {f"{name}/{key}": x.astype(np.float32) for key, x in found.items()}


def generated(arguments: dict[str, Any], theirs: Any) -> dict[str, Any]:
    tensors = {name: torch.tensor(x) if isinstance(x, list) and isinstance(x[0], list) else x for name, x in arguments.items()}
    found = theirs.generate(**tensors, do_sample=False, return_dict_in_generate=True, output_scores=True)
    scores = getattr(found, "sequences_scores", None)
    return {"sequences": found.sequences.tolist(), "scores": None if scores is None else scores.tolist()}


def main() -> None:
    shutil.rmtree(cases.DATA, ignore_errors=True)
    cases.DATA.mkdir(parents=True)
    arrays = [forward(name) for name in cases.FORWARD]
    np.savez_compressed(cases.DATA / "forward.npz", **{key: x for each in arrays for key, x in each.items()})
    ours = cases.writer()
    theirs = reference.build("GPT2LMHeadModel", ours.config.to_dict(), ours.state_dict())
    theirs.save_pretrained(cases.DATA / "checkpoint")
    answers = ",\n".join(json.dumps(generated(arguments, theirs)) for arguments in cases.GENERATE)
    (cases.DATA / "generated.json").write_text(f"[\n{answers}\n]\n")


if __name__ == "__main__":
    main()
