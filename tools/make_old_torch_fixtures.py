"""Make python2.bin, torch1_0.bin and torch1_6.bin in tests/checkpoints/data/torch/: what torch wrote in BERT's first years.

    python2.7 tools/make_old_torch_fixtures.py OUTPUT     with torch 1.4.0, the last for Python 2
    python3.6 tools/make_old_torch_fixtures.py OUTPUT     with torch 1.0.0; and with 1.6.0, the first to write zip archives

The values are whole numbers by formula, which tests/checkpoints/test_torch_pickle.py repeats. Every Python runs this.
"""

import sys

import torch


class Tiny(torch.nn.Module):
    def __init__(self):
        super(Tiny, self).__init__()  # noqa: UP008
        self.dense = torch.nn.Linear(3, 4)
        self.LayerNorm = torch.nn.LayerNorm(4)


def main(output):
    model = Tiny()
    for parameter in model.parameters():
        count = parameter.numel()
        parameter.data = torch.arange(count).float().reshape(parameter.shape) - 2
    state = model.state_dict()
    for name in ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8"):
        state["dtype." + name] = torch.arange(100, 106).reshape(2, 3).to(getattr(torch, name))
    base = torch.arange(24).float().reshape(4, 6)
    state["view.base"] = base
    state["view.sliced"] = base[1:3, ::2]
    state["view.transposed"] = base.t()
    state["parameter"] = torch.nn.Parameter(base[0])
    state["scalar"] = torch.tensor(7.0)
    torch.save(state, output)


if __name__ == "__main__":
    main(sys.argv[1])
