"""Making a golden pack: one pass in float64 for the truth, and one or two in each precision for the tolerances."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from npbert import checks
from npbert.checkpoints import safetensors
from npbert.checkpoints.writing import regular_file, system_errors, takes_bytes_as_they_come
from npbert.checks import as_array
from npbert.errors import InputError, InputTypeError, MissingFileError, shown
from npbert.golden import models, positions
from npbert.golden.kinds import is_forward, step_of
from npbert.golden.pack import FORMAT, INPUT, OUTPUT, WEIGHT, flat, metadata_texts, weights_sha256
from npbert.golden.passes import Backward, LookAtSpread, run, run_spread
from npbert.golden.positions import Positions
from npbert.golden.precision import STORED_IN
from npbert.golden.spool import FetchedArrays, Spool
from npbert.golden.steps import Steps, run_steps
from npbert.golden.tolerance import MULTIPLES, Allowance, Tolerance, measure
from npbert.tracing import GRADIENT, WEIGHT_GRADIENT, selection
from npbert.types import Array, StrPath
from npbert.version import __version__

RunSpread: TypeAlias = Callable[[str, int, LookAtSpread, Callable[[str], float]], None]
"""Runs the pass in a precision, with every sum off by its spread in directions that the number of a draw decides, and shows
every value to a function. A second function tells it what the gradient of a weight is allowed, once that is known."""

LARGE = 1 << 20
"""Numbers."""

FEW = 16  # tokens
DRAWS = 2
"""So many passes tell what gradients are allowed where a call has few tokens: few elements then make up an error, and in one
pass all may be right by luck. The gradients of two scores add up to 0. Their errors may do so too, or by the last bit they may
not, and where keys are alike, that decides how far the gradient of the query is off. Of 80 packs of two tokens with one channel
30 times as large as the others, one pass was too strict to an honest port in 2 or 3, two in none (0.67 of what is allowed)."""

GIVEN = f"{GRADIENT}{OUTPUT}"
"""The gradients that a backward pass begins with are always there, as the inputs are."""


def export(
    model: Any,
    inputs: Mapping[str, Any],
    path: StrPath,
    *,
    only: str | Sequence[str] | None = None,
    weights: bool = False,
    dtype: DTypeLike = "float32",
    gradients: bool = False,
    output_gradients: Mapping[str, Any] | None = None,
    dropout_seed: int | None = None,
    steps: Steps | None = None,
    large: bool = True,
) -> None:
    """Run `model(**inputs)` and write every intermediate and output to the golden pack `path`, with their tolerances.

    `only` is a shell-style pattern or several, as `npbert.trace` takes them; the inputs are always there. With `weights` the
    model's weights are in the pack too, so that the one file is a complete test case. Values are computed in float64 and stored
    as `dtype`, float32 or float64. The format is described in `npbert.golden.pack`.

    With `gradients` the pack also holds the gradient of the loss by every intermediate and by every weight; the inputs then
    need labels, or for a model without a loss there are `output_gradients`, as `model.gradients` takes them. With a
    `dropout_seed` the pass drops what a generator with that seed draws, and its masks are in the pack. `steps` adds the weights
    and the loss after some optimizer steps. Without `large`, gradients and stepped weights of more than LARGE numbers are left
    out: the word table's, and those by the logits of all words.

    The arrays go to disk one by one as they are computed. The same model and inputs give the same file, byte for byte, on the
    same machine: another BLAS, or another number of its threads, may sum in another order.
    """
    from tqdm import tqdm

    models.check_model(model)
    stored_type = models.check_dtype(dtype)
    path = checks.path("path", path)
    _check_target(path)
    arguments = {name: _argument(name, value) for name, value in inputs.items() if value is not None}
    arrays = models.weights_of(model)
    backward = _backward(model, arguments, gradients, output_gradients, dropout_seed, steps)
    metadata = _metadata(model, arrays, backward, steps)
    metadata_texts(metadata)  # what cannot be written is found before the work, not after it

    with (
        system_errors(path),
        tempfile.TemporaryFile(dir=_directory_for(path)) as file,
        tqdm(unit=" tensors", desc="golden pack", leave=False, disable=None) as progress,
    ):
        # Everything is spooled, also what `only` leaves out: what a tensor is allowed depends on the one before it.
        spool = Spool(file)

        def keep(name: str, x: Array) -> None:
            spool.add(name, x.astype(stored_type, copy=False))
            progress.update()

        def run_other(precision: str, draw: int, look: LookAtSpread, allowed: Callable[[str], float]) -> None:
            def look_and_count(name: str, x: Array, spread: Array | None) -> None:
                look(name, x, spread)
                progress.update()

            run_spread(model, arguments, precision, look_and_count, backward=backward, draw=draw)
            if backward is not None and steps is not None:
                run_steps(model, arguments, precision, steps, backward, look_and_count, allowed)

        run(model, arguments, "float64", keep, backward=backward)
        if backward is not None and steps is not None:
            run_steps(model, arguments, "float64", steps, backward, lambda name, x, _: keep(name, x))
        visible = positions.of_call(model.config, arguments)
        tokens = sum(int(part.query.sum()) for part in visible.values())
        draws = DRAWS if backward is not None and tokens <= FEW else 1
        progress.total = len(spool) * (1 + draws * len(STORED_IN))
        is_chosen = selection(only)
        order = [name for name in spool if is_chosen(name) and (large or is_forward(name) or spool[name].size <= LARGE)]
        if not order:
            raise InputError(f"only: nothing in this model is called {only!r}")
        tolerances = {precision: _tolerances(spool, visible, run_other, precision, draws) for precision in STORED_IN}
        order = [name for name in spool if name in order or name.startswith(GIVEN)]
        metadata["order"] = order
        metadata["aliases"] = _aliases(order, spool)
        for name in order:
            first = spool.first_name[name]
            bounds = {precision: known.get(name, known[first]) for precision, known in tolerances.items()}
            metadata["tolerances"][name] = {precision: bound._asdict() for precision, bound in bounds.items()}
        contents = _contents(arguments, arrays if weights else {}, spool, metadata)
        safetensors.write(path, contents, metadata_texts(metadata))


def _check_target(path: StrPath) -> None:
    """Find what can be found before the work: a directory that is missing, a file that cannot be replaced."""
    with system_errors(path):
        if takes_bytes_as_they_come(path):
            return
        target = regular_file(path)
        if not target.parent.is_dir():
            raise MissingFileError(f"{path}: the directory {target.parent} does not exist")


def _directory_for(path: StrPath) -> Path | None:
    """Where the spool lies: beside the pack, where there is room for it, or among other temporary files."""
    return None if takes_bytes_as_they_come(path) else regular_file(path).parent


def _argument(name: str, value: Any) -> Any:
    """An argument as an array, or as a tuple of arrays where the model takes one."""
    if name.startswith(("past_key_values", "encoder_outputs")) and isinstance(value, tuple | list):
        return tuple(_argument(f"{name}[{index}]", member) for index, member in enumerate(value))
    array = as_array(f"inputs: {name}", value)
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        raise InputTypeError(f"inputs: {name} takes an array of numbers, got {shown(value)}")
    return array


def _backward(
    model: Any,
    inputs: Mapping[str, Any],
    gradients: bool,
    output_gradients: Mapping[str, Any] | None,
    dropout_seed: int | None,
    steps: Steps | None,
) -> Backward | None:
    """What decides the backward pass, or None where there is none."""
    given = {"output_gradients": output_gradients, "dropout_seed": dropout_seed, "steps": steps}
    if not checks.flag("gradients", gradients, False):
        for name, value in given.items():
            if value is not None:
                raise InputError(f"{name}: belongs to gradients=True")
        return None
    labels = model.label_names
    if output_gradients is None and not all(name in inputs for name in labels or ("labels",)):
        if not labels:
            raise InputError(
                f"gradients: {type(model).__name__} has no loss; give output_gradients, such as "
                '{"last_hidden_state": array}, or take a model with a head'
            )
        raise InputError(f"gradients: come from a loss, and the loss from {' and '.join(labels)}, which the inputs lack")
    if steps is not None and output_gradients is not None:
        raise InputError("steps: take a loss, so labels in place of output_gradients")
    if dropout_seed is not None:
        checks.whole_number("dropout_seed", dropout_seed)
    arrays = None if output_gradients is None else {name: as_array(name, x) for name, x in output_gradients.items()}
    return Backward(dropout_seed, arrays)


def _metadata(model: Any, weights: Mapping[str, Array], backward: Backward | None, steps: Steps | None) -> dict[str, Any]:
    """The metadata of a pack without tensors."""
    training = (
        {}
        if backward is None
        else {
            "dropout_seed": backward.dropout_seed,
            "output_gradients": list(backward.output_gradients or ()),
            "steps": None if steps is None else steps.as_dict(),
        }
    )
    return {
        "format": FORMAT,
        "npbert": __version__,
        "config": model.config.to_dict(),
        "weights_sha256": weights_sha256(weights),
        "order": [],
        "aliases": {},
        "multiples": {precision: multiple._asdict() for precision, multiple in MULTIPLES.items()},
        "tolerances": {},
    } | ({"training": training} if training else {})


def _tolerances(
    spool: Spool, visible: Mapping[str, Positions], run_other: RunSpread, precision: str, draws: int
) -> dict[str, Tolerance]:
    """What a port in `precision` may be off by in each content of the spool, by its first name; behind the forward
    pass, the most of all draws."""
    first, *others = (_tolerances_of_draw(spool, visible, run_other, precision, draw) for draw in range(draws))
    for other in others:
        for name, (max_abs, rms) in other.items():
            if not is_forward(name):
                first[name] = Tolerance(max(first[name].max_abs, max_abs), max(first[name].rms, rms))
    return first


def _tolerances_of_draw(
    spool: Spool, visible: Mapping[str, Positions], run_other: RunSpread, precision: str, draw: int
) -> dict[str, Tolerance]:
    """The same of one pass. A weight that a step leaves as it was has a tolerance of its own: rounding may move it."""
    allowance = Allowance(precision)
    tolerances: dict[str, Tolerance] = {}

    def look(name: str, x: Array, spread: Array | None) -> None:
        if spool.first_name[name] == name or step_of(name):
            counts = positions.counted(visible, name, x.shape)
            tolerances[name] = allowance.next(name, measure(spool[name], x, counts, spread))

    def allowed(weight: str) -> float:
        return tolerances[spool.first_name[WEIGHT_GRADIENT + weight]].rms

    run_other(precision, draw, look, allowed)
    return tolerances


def _aliases(order: Sequence[str], spool: Spool) -> dict[str, str]:
    """Names whose content is stored under another name of `order`, with that name."""
    stored: dict[str, str] = {}  # by content
    owners = {name: stored.setdefault(spool.first_name[name], name) for name in order}
    return {name: owner for name, owner in owners.items() if owner != name}


def _contents(
    arguments: Mapping[str, Any], weights: Mapping[str, Array], spool: Spool, metadata: Mapping[str, Any]
) -> FetchedArrays:
    """The arrays of the file in their order."""
    arrays = {part: array for name, value in arguments.items() for part, array in flat(INPUT + name, value)}
    arrays |= {WEIGHT + name: array for name, array in weights.items()}
    fetch: dict[str, Callable[[], Array]] = {name: partial(np.asarray, array) for name, array in arrays.items()}
    fetch |= {name: partial(spool.__getitem__, name) for name in metadata["order"] if name not in metadata["aliases"]}
    return FetchedArrays(fetch)
