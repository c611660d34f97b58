"""In which layouts a port's arrays are understood, and that none is guessed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from npbert import InputError, golden

from ..builders import build, ids, tiny

Layout = Callable[[np.ndarray], np.ndarray]
SELF = "encoder.layer.0.attention.self"


def export(path: Path, mask: list[list[int]], model_class: str = "BertModel") -> golden.Pack:
    """A pack of a tiny model (N 3, H 4, D 12, F 21) on texts with this attention mask."""
    model = build(model_class, tiny(), dtype=np.float32)
    inputs = {"input_ids": ids(model.config, len(mask), len(mask[0])), "attention_mask": np.array(mask)}
    golden.export(model, inputs, path / "pack")
    return golden.read_pack(path / "pack")


@pytest.fixture
def pack(tmp_path: Path) -> golden.Pack:
    """B 2, S 6; two tokens of the second text are padding."""
    return export(tmp_path, [[1] * 6, [1] * 4 + [0] * 2])


def heads_last(x: np.ndarray) -> np.ndarray:
    return x.transpose(0, 2, 1, 3)


def merged(x: np.ndarray) -> np.ndarray:
    return heads_last(x).reshape(2, 6, 12)


LAYOUTS: list[tuple[str, str, Layout]] = [
    ("encoder", "[S, B, D]", lambda x: x.swapaxes(0, 1)),
    ("encoder", "[B*S, D]", lambda x: x.reshape(12, 12)),
    ("encoder", "[B, S, D], but for axes of size 1", lambda x: x[None]),
    ("encoder.layer.0.intermediate", "[S, B, F]", lambda x: x.swapaxes(0, 1)),
    ("encoder.layer.0.intermediate", "[B, S, F], but for axes of size 1", lambda x: x[:, :, None]),
    (f"{SELF}.query", "[B, N, S, H]", lambda x: heads_last(x.reshape(2, 6, 3, 4))),
    (f"{SELF}.query", "[B, S, N, H]", lambda x: x.reshape(2, 6, 3, 4)),
    (f"{SELF}.query", "[S, B, N*H]", lambda x: x.swapaxes(0, 1)),
    (f"{SELF}:query", "[B, S, N*H]", merged),
    (f"{SELF}:query", "[B, S, N, H]", heads_last),
    (f"{SELF}:query", "[S, B, N*H]", lambda x: merged(x).swapaxes(0, 1)),
    (f"{SELF}:query", "[B*S, N*H]", lambda x: merged(x).reshape(12, 12)),
    (f"{SELF}:key", "[B*N, T, H]", lambda x: x.reshape(6, 6, 4)),
    (f"{SELF}:key", "[B, T, N, H]", heads_last),
    (f"{SELF}:scores", "[B*N, S, T]", lambda x: x.reshape(6, 6, 6)),
    (f"{SELF}:scores", "[N, B, S, T]", lambda x: x.swapaxes(0, 1)),
    ("embeddings.position_embeddings", "[1, S, D], but for axes of size 1", lambda x: x[0]),
    ("embeddings.position_embeddings", "once for each text", lambda x: np.repeat(x, 2, axis=0)),
    ("embeddings.token_type_embeddings", "once for all texts", lambda x: x[0]),
    ("pooler", "[B, D], but for axes of size 1", lambda x: x[:, None]),
]


@pytest.mark.parametrize(("name", "assumed", "layout"), LAYOUTS)
def test_a_layout_that_the_shape_tells_is_read_and_said(pack: golden.Pack, name: str, assumed: str, layout: Layout) -> None:
    report = golden.compare(pack, {name: layout(pack[name])})
    (row,) = report.rows
    assert (row.ok, row.max_abs, row.assumed) == (True, 0.0, assumed)
    assert f"read as {assumed}: {name}" in str(report)
    wrong = layout(pack[name]).copy()
    wrong.flat[0] += 1
    assert not golden.compare(pack, {name: wrong}).ok


def test_position_embeddings_of_each_text_are_all_looked_at(pack: golden.Pack) -> None:
    name = "embeddings.position_embeddings"
    rows = np.repeat(pack[name], 2, axis=0)
    rows[1, 4:] = np.nan  # padding
    assert golden.compare(pack, {name: rows}).ok
    rows[1, 3, 0] += 1
    assert not golden.compare(pack, {name: rows}).ok


def unpadded(pack: golden.Pack, name: str) -> np.ndarray:
    x = pack[name] if pack[name].ndim == 3 else merged(pack[name])
    return x[pack.inputs["attention_mask"] == 1]


@pytest.mark.parametrize("name", ["encoder", f"{SELF}.query", f"{SELF}:query", f"{SELF}:value"])
def test_a_port_without_padding(pack: golden.Pack, name: str) -> None:
    x = unpadded(pack, name)
    assert x.shape == (10, 12)
    report = golden.compare(pack, {name: x})
    assert report.ok
    assert "one row for each of the 10 tokens" in report.rows[0].assumed
    x = x.copy()
    x[9, 0] += 1
    assert not golden.compare(pack, {name: x}).ok


@pytest.mark.parametrize("length", [9, 5])
@pytest.mark.parametrize("side", ["end", "start"])
def test_a_port_that_pads_to_another_length(tmp_path: Path, length: int, side: str) -> None:
    mask = np.array([[1] * 5 + [0] * 2, [1] * 4 + [0] * 3])
    # A pooler reads the first token, padding or not.
    pack = export(tmp_path, (mask if side == "end" else mask[:, ::-1]).tolist(), "BertForMaskedLM")

    def padded(x: np.ndarray) -> np.ndarray:
        for axis in [axis for axis, size in enumerate(x.shape) if size == 7]:
            x = x if side == "end" else np.flip(x, axis)
            kept = np.take(x, range(min(length, 7)), axis)
            widths = [(0, max(0, length - 7) if other == axis else 0) for other in range(x.ndim)]
            x = np.pad(kept, widths, constant_values=-1e4)
            x = x if side == "end" else np.flip(x, axis)
        return x

    dump = {name: padded(x) for name, x in pack.items()}
    report = golden.compare(pack, dump)
    assert report.ok, report
    assert len(report.rows) == len(pack)
    said = {row.assumed.partition("]")[2] for row in report.rows if 7 in row.shape}
    assert said == {f" padded to {length} tokens at the {side}"}
    dump["bert.encoder"][1, 3 if side == "end" else -1] += 1
    assert golden.compare(pack, dump).first_divergence == "bert.encoder"


def test_a_dump_that_is_too_short_is_not_read(pack: golden.Pack) -> None:
    report = golden.compare(pack, {"encoder": pack["encoder"][:, :5], "pooler": pack["pooler"]})
    assert [row.problem for row in report.rows] == ["takes shape [2, 6, 12], got [2, 5, 12]", ""]


# ------------------------------------------------------------------------------------------------------- what nobody can know


@pytest.fixture
def square(tmp_path: Path) -> golden.Pack:
    """As many texts as tokens."""
    return export(tmp_path, [[1] * 3] * 3)


def test_equal_sizes_are_a_question_not_a_guess(square: golden.Pack) -> None:
    dump = {"encoder": square["encoder"].swapaxes(0, 1), "encoder.layer.0": square["encoder.layer.0"].swapaxes(0, 1)}
    report = golden.compare(square, dump)
    assert not report.ok
    assert [row.right_as for row in report.rows] == ["S B D", "S B D"]
    assert "is it [S, B, D]? The shape does not tell" in str(report)
    assert '{"*": {"layout": "S B D"}}' in " ".join(str(report).split())
    assert golden.compare(square, dump, names={"*": {"layout": "S B D"}}).ok
    assert golden.compare(square, dump, names={"encoder*": {"layout": "S B D"}}).ok
    assert golden.compare(square, {"encoder": square["encoder"]}).ok  # as the pack has it: nothing to ask
    assert not golden.compare(square, {"encoder": square["encoder"]}, names={"*": {"layout": "S B D"}}).ok
    named = {"mine": dump["encoder"], "yours": dump["encoder.layer.0"]}
    asked = golden.compare(square, named, names={"mine": "encoder", "yours": "encoder.layer.0"})
    assert '{"*": {"layout": "S B D"}}' in " ".join(str(asked).split())  # of two it is all of them
    mixed = {**dump, "embeddings": square["embeddings"]}  # not all of them: the first one is asked for by its name
    assert '{"encoder.layer.0": {"layout": "S B D"}}' in " ".join(str(golden.compare(square, mixed)).split())
    one = {**dump, "encoder": square["encoder"]}
    assert '{"encoder.layer.0": {"layout": "S B D"}}' in " ".join(str(golden.compare(square, one)).split())


def test_merged_in_the_other_order_is_a_question(pack: golden.Pack) -> None:
    x = pack["encoder"].swapaxes(0, 1).reshape(12, 12)
    (row,) = golden.compare(pack, {"encoder": x}).rows
    assert (row.ok, row.assumed, row.right_as) == (False, "[B*S, D]", "S*B D")
    assert golden.compare(pack, {"encoder": x}, names={"encoder": {"layout": "S*B D"}}).ok


def test_a_layout_holds_for_tensors_with_its_axes(square: golden.Pack) -> None:
    names = ["encoder.layer.0.intermediate", f"{SELF}.query", "pooler"]
    dump = {name: square[name].swapaxes(0, 1) if square[name].ndim == 3 else square[name] for name in names}
    assert golden.compare(square, dump, names={"*": {"layout": "S B D"}}).ok


def test_a_wrong_layout_is_told(pack: golden.Pack) -> None:
    with pytest.raises(InputError, match=r"takes shape \[2, 6, 12\], got \[2, 6, 12\] in the layout \[S, B, D\]"):
        golden.compare(pack, {"encoder": pack["encoder"]}, names={"encoder": {"layout": "S B D"}})


def test_without_texts_to_tell_apart_there_is_nothing_to_ask(tmp_path: Path) -> None:
    pack = export(tmp_path, [[1] * 5])
    dump = {"encoder": pack["encoder"][0], f"{SELF}:query": pack[f"{SELF}:query"][0], "pooler": pack["pooler"][0]}
    report = golden.compare(pack, dump)
    assert report.ok
    wrong = golden.compare(pack, {"encoder": pack["encoder"][0] + 1})
    assert not wrong.questions
