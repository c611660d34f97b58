"""Write tests/data/expected/gradients.npz: gradients of small models as the reference's autograd computes them, in float64.

    python tools/make_expected_gradients.py

For each case of tests/gradient_cases.py the file holds the loss and the gradient by every weight.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests import gradient_cases, reference  # noqa: E402


def main() -> None:
    """Compute and write."""
    arrays: dict[str, np.ndarray] = {}
    for name, (model_class, fields) in gradient_cases.CASES.items():
        model, arguments = gradient_cases.build_case(name)
        theirs = reference.build(model_class, model.config.to_dict(), model.state_dict())
        out = theirs(**reference.converted(theirs, arguments))
        out.loss.backward()
        arrays[f"{name}/loss"] = out.loss.detach().numpy()
        for weight, x in theirs.named_parameters():
            if x.grad is not None:
                arrays[f"{name}/{weight}"] = x.grad.numpy()
        print(name, model_class, fields, float(out.loss))
    np.savez_compressed(gradient_cases.FILE, **arrays)
    print(f"{len(arrays)} arrays, {gradient_cases.FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
