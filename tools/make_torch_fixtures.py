"""Make tests/checkpoints/data/torch/: small files by torch.save and the safetensors library, and what torch says they hold.

    python tools/make_torch_fixtures.py

Needs torch; made with 2.13. `expected.npz` holds every tensor of the state dict as NumPy sees it (bfloat16 widened by torch);
the older format names storages after their addresses in memory, so its files differ from run to run.
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

DATA = Path(__file__).parent.parent / "tests" / "checkpoints" / "data" / "torch"


class Tiny(torch.nn.Module):
    """Gives the state dict its `_metadata`, as every real one has it."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = torch.nn.Linear(3, 4)
        self.LayerNorm = torch.nn.LayerNorm(4)
        self.register_buffer("position_ids", torch.arange(6).expand(1, -1))


def make_state_dict() -> OrderedDict[str, torch.Tensor]:
    torch.manual_seed(0)
    state = Tiny().state_dict()
    values = torch.randn(3, 5) * 100
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        state[f"dtype.{dtype}"] = values.to(dtype)
    special = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e-40, 3.3e38, -1.0])
    state["special.float32"] = special
    state["special.bfloat16"] = special.to(torch.bfloat16)
    for dtype in (torch.int64, torch.int32, torch.int16, torch.int8):
        limits = torch.iinfo(dtype)
        state[f"dtype.{dtype}"] = torch.tensor([limits.min, -1, 0, limits.max], dtype=dtype)
    for dtype in (torch.uint8, torch.uint16, torch.uint32, torch.uint64):
        state[f"dtype.{dtype}"] = torch.tensor([0, 1, 200], dtype=torch.int64).to(dtype)
    state["dtype.torch.bool"] = torch.tensor([[True, False, True], [False, False, True]])

    base = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    state["view.base"] = base
    state["view.transposed"] = base.permute(2, 0, 1)
    state["view.sliced"] = base[1:, ::2, 1:4]
    state["view.expanded"] = base[0, 0, :1].expand(4, 7)
    state["view.windows"] = base.flatten().unfold(0, 8, 3)
    state["view.scalar"] = base[2, 3, 4]
    state["view.bfloat16"] = torch.arange(12).reshape(3, 4).to(torch.bfloat16).T[1:]
    state["shape.scalar"] = torch.tensor(2.5)
    state["shape.empty"] = torch.empty(0, 3)
    state["shape.none"] = torch.empty(0)
    state["tied.a"] = torch.randn(2, 3)
    state["tied.b"] = state["tied.a"]
    state["parameter.plain"] = torch.nn.Parameter(torch.randn(4))
    state["parameter.frozen"] = torch.nn.Parameter(torch.randn(4), requires_grad=False)
    with_state = torch.nn.Parameter(torch.randn(4))
    with_state.note = "an attribute"
    state["parameter.with_state"] = with_state
    return state


def main() -> None:
    DATA.mkdir(parents=True, exist_ok=True)
    state = make_state_dict()
    arrays = {}
    for name, tensor in state.items():
        tensor = tensor.detach()
        arrays[name] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    np.savez_compressed(DATA / "expected.npz", **arrays)

    torch.save(state, DATA / "zip.bin")
    torch.save(state, DATA / "zip_protocol4.bin", pickle_protocol=4)
    torch.save(state, DATA / "stream.bin", _use_new_zipfile_serialization=False)
    torch.serialization.set_crc32_options(False)
    torch.save(state, DATA / "zip_unsummed.bin")
    torch.serialization.set_crc32_options(True)

    save_file({name: tensor.detach().clone().contiguous() for name, tensor in state.items()}, DATA / "library.safetensors")

    model = Tiny()
    optimizer = torch.optim.AdamW(model.parameters())
    model.dense(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    training = {
        "epoch": 3,
        "state_dict": state,
        "optimizer": optimizer.state_dict(),
        "best": 0.5,
        "args": {"lr": 1e-3, "runs": [1, 2]},
    }
    torch.save(training, DATA / "training.bin")


if __name__ == "__main__":
    main()
