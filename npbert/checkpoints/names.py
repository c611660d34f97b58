"""One name for each weight: what TensorFlow and older files call it, turned into what the models call it.

Pure renaming, no files. The models' names are those of the Hugging Face checkpoint.

    from_tensorflow                                     google-research/bert's variables, by rule:
      bert/encoder/layer_0/attention/self/query/kernel    bert.encoder.layer.0.attention.self.query.weight  (transposed)
      bert/embeddings/word_embeddings                     bert.embeddings.word_embeddings.weight
      bert/embeddings/LayerNorm/gamma, .../beta           bert.embeddings.LayerNorm.weight, ....bias
      cls/predictions/output_bias                         cls.predictions.bias
      cls/seq_relationship/output_weights, .../output_bias  cls.seq_relationship.weight, ....bias
      output_weights, output_bias                         classifier.weight, classifier.bias  (run_classifier.py)
      cls/squad/output_weights, .../output_bias           cls.squad.weight, cls.squad.bias  (run_squad.py; see `fit_to`)
      .../adam_m, .../adam_v, global_step and their like  left out

    fit_to                                              names that files have and models want in more than one form:
      ....LayerNorm.gamma, ....beta                       ....LayerNorm.weight, ....bias
      encoder.layer..., bert.encoder.layer...             whichever of the two the model wants
      cls.predictions.decoder.bias                        cls.predictions.bias, and the other way
      cls.predictions.decoder.weight                      [bert.]embeddings.word_embeddings.weight, and the other way, if tied
      cls.squad.weight, ....bias                          qa_outputs.weight, ....bias, or else classifier.weight, ....bias
      ....position_ids, ....token_type_ids                left out: buffers that once were saved, and are no weights
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from npbert.errors import InputError
from npbert.types import Array

# google-research/bert's own optimizer, TensorFlow's Adam, and the LAMB of later trainings; their counters.
_OPTIMIZER = re.compile(
    r"(?:adam|lamb)_[mv]|(?:AdamWeightDecay|LAMB|Adam)(?:Optimizer)?(?:_\d+)?|beta[12]_power|global_step", re.ASCII
)
_NUMBERED = re.compile(r"([A-Za-z]+)_(\d+)", re.ASCII)
_TENSORFLOW_ENDINGS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "output_weights": "weight",
    "output_bias": "bias",
}
_BUFFER = re.compile(r"(?:.*\.)?embeddings\.(?:position_ids|token_type_ids)")


class Fit(NamedTuple):
    """What `fit_to` makes of a checkpoint."""

    weights: dict[str, Array]  # by the names that were wanted
    missing: list[str]  # wanted, not found
    unexpected: list[str]  # found, not wanted


def from_tensorflow(variables: Mapping[str, Array]) -> dict[str, Array]:
    """The variables of a TensorFlow checkpoint of BERT under Hugging Face's names, without what only training needs.

    A dense layer computes `x @ kernel` in TensorFlow and `x @ weight.T` here, so kernels are transposed (as views).
    """
    if any(variable.endswith("/.ATTRIBUTES/VARIABLE_VALUE") for variable in variables):
        raise InputError(
            "weights: this is a TensorFlow 2 object checkpoint; npbert reads those with google-research/bert's names"
        )
    found: dict[str, Array] = {}
    for variable, array in variables.items():
        parts = variable.split("/")
        if any(_OPTIMIZER.fullmatch(part) for part in parts):
            continue
        name = _tensorflow_name(parts)
        if name in found:
            raise InputError(f"weights: two TensorFlow variables are both {name}; the second is {variable}")
        found[name] = array.T if parts[-1] == "kernel" else array
    return found


def fit_to(wanted: Iterable[str], found: Mapping[str, Array], *, tied: bool = True) -> Fit:
    """The weights of a checkpoint under the names that a model wants, and what does not fit.

    `wanted` are the model's names, with or without a second name for a tied weight. `tied`: whether the decoder of the masked
    language model is the word table (`config.tie_word_embeddings`); if so, the word table counts where a file has both.
    The lists are sorted, and say what the reference's `output_loading_info` says: unexpected names are the file's in their
    present form; of a task's file in a base model, those of the base without `bert.`, those of the head untouched.
    """
    wanted = list(wanted)
    squad = _squad_head(wanted, found)
    forms: dict[str, list[tuple[str, str]]] = {}  # which weight -> (its present name, the file's name)
    for name in found:
        if not _BUFFER.fullmatch(name):
            present = squad(_present(name))
            forms.setdefault(_identity(present, tied), []).append((present, name))

    weights = {}
    taken = set()
    for name in wanted:
        identity = _identity(name, tied)
        if identity in forms:
            # First names go before second ones, and what needs no change before what does.
            best = min(forms[identity], key=lambda form: (_bare(form[0]) != identity, form[0] != name, form[0] != form[1]))
            weights[name] = found[best[1]]
            taken.add(best)
    taken_names = {_bare(present) for present, _ in taken}
    # What a weight's second name holds is no surprise where its first was taken; the same name twice is, and so is the
    # decoder in a model without any of its head.
    has_head = any("cls.predictions." in name for name in wanted)
    unexpected = [
        (present, name)
        for group in forms.values()
        for present, name in group
        if (present, name) not in taken
        and (not has_head or _bare(present) in taken_names or not any(form in taken for form in group))
    ]
    base_of_task = any(name.startswith("bert.") for name in found) and not any(name.startswith("bert.") for name in wanted)
    if base_of_task:
        words = [present.removeprefix("bert.") if name.startswith("bert.") else name for present, name in unexpected]
    else:
        words = [present for present, _ in unexpected]
    return Fit(weights, sorted(name for name in wanted if name not in weights), sorted(words))


def _tensorflow_name(parts: list[str]) -> str:
    if len(parts) == 1 and parts[0] in ("output_weights", "output_bias"):
        parts = ["classifier", *parts]
    *modules, last = parts
    words = [word for module in modules for word in _split_number(module)]
    if last.endswith("_embeddings"):
        return ".".join([*words, last, "weight"])
    return ".".join([*words, _TENSORFLOW_ENDINGS.get(last, last)])


def _split_number(module: str) -> tuple[str, ...]:
    """`layer_0` is number 0 in the list `layer`."""
    match = _NUMBERED.fullmatch(module)
    return match.groups() if match else (module,)


def _present(name: str) -> str:
    """The name as it is written today: the first ports kept TensorFlow's words for LayerNorm."""
    for old, new in (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")):
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _bare(name: str) -> str:
    """The name without the base model's prefix, also inside an encoder-decoder (`decoder.bert.encoder...`)."""
    return re.sub(r"(^|\.)bert\.", r"\1", name, count=1)


def _identity(name: str, tied: bool) -> str:
    """The same text for all names of one weight: its first name, bare."""
    bare = _bare(name)
    if bare.endswith("cls.predictions.decoder.bias"):
        return bare.removesuffix("decoder.bias") + "bias"
    if tied and bare.endswith("cls.predictions.decoder.weight"):
        return bare.removesuffix("cls.predictions.decoder.weight") + "embeddings.word_embeddings.weight"
    return bare


def _squad_head(wanted: Iterable[str], found: Iterable[str]) -> Callable[[str], str]:
    """The new name of TensorFlow's question answering head: `qa_outputs`, or in a model without one the classifier that the
    reference's own conversion makes of it. A classifier that the file has itself comes first."""
    modules = {name.rpartition(".")[0] for name in wanted}
    head = "cls.squad"
    if "qa_outputs" in modules:
        head = "qa_outputs"
    elif "classifier" in modules and not any(name.startswith("classifier.") for name in found):
        head = "classifier"
    return lambda name: f"{head}.{name.removeprefix('cls.squad.')}" if name.startswith("cls.squad.") else name
