"""What each name in a pack means: the one table that says it, and the list of the names of one model.

A name that is a module's path is that module's output. A name with a colon is a value inside a module, and names with
`input:` and `output:` are the arguments and the results of the call.

    B texts (each choice of a multiple choice is one)   S tokens   T keys: S, after those that a cache holds
    E tokens of an encoder's output   N heads   H head size   D hidden size   F intermediate size   V vocabulary size
    C labels or choices   O and I what a weight puts out and reads

A gradient has the axes of its value or its weight.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from npbert.golden.gpt2_names import GPT2_NAMES
from npbert.golden.kinds import bare, is_forward, is_of_weight, step_of
from npbert.golden.models import Config, check_model, part_of, parts_of_config
from npbert.golden.passes import run
from npbert.models.encoder_decoder_config import EncoderDecoderConfig
from npbert.models.heads import BertForMultipleChoice
from npbert.types import Array

LENGTHS = "BSTE"
"""The axes whose size a call decides, not the model."""

FIELDS = ("hidden_act", "pooler_act", "layer_norm_eps", "head_size", "activation_function")
"""What a meaning may take from a configuration."""


class Meaning(NamedTuple):
    """What one name, or one name in each layer, stands for."""

    name: str  # `*` is the number of a layer
    axes: str  # of its array; `N*H` is one axis that holds N pieces of H, and `|` stands between two possibilities
    text: str  # a word in braces is a field of the configuration, one of FIELDS


MEANINGS = [
    Meaning("input:input_ids", "B S|B C S", "the token ids"),
    Meaning("input:attention_mask", "B S|B C S|B S T", "1 where a token may be looked at, 0 where not (padding)"),
    Meaning("input:token_type_ids", "B S|B C S", "0 for the first text of a pair, 1 for the second"),
    Meaning("input:position_ids", "B S|B C S", "the row of the position table for each token"),
    Meaning("embeddings.word_embeddings", "B S D", "the row of the word table for each token id"),
    Meaning("embeddings.token_type_embeddings", "B S D", "the row of the token type table for each token"),
    Meaning(
        "embeddings.position_embeddings", "1 S D|B S D", "the row of the position table for each token, once for all texts"
    ),
    Meaning("embeddings:sum", "B S D", "the rows above added: what LayerNorm reads"),
    Meaning("embeddings.LayerNorm", "B S D", "LayerNorm of :sum, with eps {layer_norm_eps} under the root"),
    Meaning("embeddings.dropout", "B S D", "the same again, since nothing is dropped"),
    Meaning("embeddings", "B S D", "the same again: what the first layer reads"),
    Meaning("encoder.layer.*.attention.self.query", "B S N*H", "query.weight x + query.bias; heads not split, not scaled"),
    Meaning("encoder.layer.*.attention.self.key", "B S N*H", "key.weight x + key.bias; heads not split"),
    Meaning("encoder.layer.*.attention.self.value", "B S N*H", "value.weight x + value.bias; heads not split"),
    Meaning("encoder.layer.*.crossattention.self.key", "B E N*H", "the same of the encoder's output"),
    Meaning("encoder.layer.*.crossattention.self.value", "B E N*H", "the same of the encoder's output"),
    Meaning("encoder.layer.*.attention.self:query", "B N S H", "the query after the split into heads, still not scaled"),
    Meaning("encoder.layer.*.attention.self:key", "B N T H", "the key after the split, behind what a cache holds"),
    Meaning("encoder.layer.*.attention.self:value", "B N T H", "the value after the split, behind what a cache holds"),
    Meaning("encoder.layer.*.attention.self:scores", "B N S T", "query key^T: before the scale and before the mask"),
    Meaning(
        "encoder.layer.*.attention.self.distance_embedding", "S T H", "the row of the distance table for each pair of tokens"
    ),
    Meaning("encoder.layer.*.attention.self:relative_scores", "B N S T", "what distances add to :scores, before the scale"),
    Meaning(
        "encoder.layer.*.attention.self:masked_scores", "B N S T", "all scores / sqrt({head_size}) + mask: what softmax reads"
    ),
    Meaning("encoder.layer.*.attention.self.dropout", "B N S T", "softmax of :masked_scores over the keys"),
    Meaning("encoder.layer.*.attention.self:probs", "B N S T", "the same, times the head mask if there is one"),
    Meaning("encoder.layer.*.attention.self", "B S N*H", ":probs times :value, heads merged: what output.dense reads"),
    Meaning("encoder.layer.*.attention.output.dense", "B S D", "output.dense of the merged heads, with its bias"),
    Meaning("encoder.layer.*.attention.output.dropout", "B S D", "the same again, since nothing is dropped"),
    Meaning("encoder.layer.*.attention.output:residual", "B S D", "output.dense plus what the attention read"),
    Meaning("encoder.layer.*.attention.output.LayerNorm", "B S D", "LayerNorm of :residual"),
    Meaning("encoder.layer.*.attention.output", "B S D", "the same again"),
    Meaning("encoder.layer.*.attention", "B S D", "the same again: what intermediate.dense reads"),
    Meaning("encoder.layer.*.intermediate.dense", "B S F", "intermediate.dense with its bias, before the activation"),
    Meaning("encoder.layer.*.intermediate.intermediate_act_fn", "B S F", "the activation, {hidden_act}, of it"),
    Meaning("encoder.layer.*.intermediate", "B S F", "the same again: what output.dense reads"),
    Meaning("encoder.layer.*.output.dense", "B S D", "output.dense of the activated values, with its bias"),
    Meaning("encoder.layer.*.output.dropout", "B S D", "the same again, since nothing is dropped"),
    Meaning("encoder.layer.*.output:residual", "B S D", "output.dense plus what intermediate.dense read"),
    Meaning("encoder.layer.*.output.LayerNorm", "B S D", "LayerNorm of :residual"),
    Meaning("encoder.layer.*.output", "B S D", "the same again"),
    Meaning("encoder.layer.*", "B S D", "the same again: the layer's result, what the next one reads"),
    Meaning("encoder", "B S D", "the result of the last layer"),
    Meaning("pooler.dense", "B D", "pooler.dense of the first token's result, before the activation"),
    Meaning("pooler.activation", "B D", "the activation, {pooler_act}, of it"),
    Meaning("pooler", "B D", "the same again: the pooled vector"),
    Meaning("bert", "B S D", "the result of the last layer, as a head reads it"),
    Meaning("dropout", "B S D|B D", "what the classifier reads, since nothing is dropped"),
    Meaning("classifier", "B S C|B C", "the logits of the labels"),
    Meaning("qa_outputs", "B S C", "the logits of an answer's start (the first) and end (the second) at each token"),
    Meaning("cls.predictions.transform.dense", "B S D", "transform.dense with its bias, before the activation"),
    Meaning("cls.predictions.transform.transform_act_fn", "B S D", "the activation, {hidden_act}, of it"),
    Meaning("cls.predictions.transform.LayerNorm", "B S D", "LayerNorm of that"),
    Meaning("cls.predictions.transform", "B S D", "the same again: what the decoder reads"),
    Meaning("cls.predictions.decoder", "B S V", "the word table times that, plus the bias: a logit for each word"),
    Meaning("cls.predictions:logits", "B S V", "the same again"),
    Meaning("cls.predictions", "B S V", "the same again"),
    Meaning("cls.seq_relationship", "B C", "the logits of 'is the next sentence' (the first) and 'is not'"),
    Meaning("cls", "B S V|B C", "the logits of the head"),
    Meaning("enc_to_dec_proj", "B E D", "the encoder's result in the decoder's hidden size"),
    Meaning("decoder", "B S V", "the logits of the decoder"),
    Meaning("output:last_hidden_state", "B S D", "the result of the last layer"),
    Meaning("output:pooler_output", "B D", "the pooled vector"),
    Meaning("output:logits", "B S C|B C", "the logits of the head"),
    Meaning("output:prediction_logits", "B S V", "the logits of cls.predictions"),
    Meaning("output:seq_relationship_logits", "B C", "the logits of cls.seq_relationship"),
    Meaning("output:start_logits", "B S", "how well an answer starts at each token"),
    Meaning("output:end_logits", "B S", "how well an answer ends at each token"),
    Meaning("output:encoder_last_hidden_state", "B E D", "the result of the encoder's last layer"),
    Meaning("output:loss", "", "the loss, where labels were given"),
]
"""BERT's, in the order of execution. What is below `crossattention` is as below `attention`, with the keys and values of an
encoder's output (E for T). In a model with a head the names of the base model begin with `bert.`, in an encoder-decoder the
names of its parts begin with `encoder.` and `decoder.`."""

GPT2_MEANINGS = [Meaning(*row) for row in GPT2_NAMES]
"""GPT-2's own. In a model with a head they begin with `transformer.`; inputs and outputs are as BERT's."""


@functools.cache
def meaning_of(name: str) -> Meaning | None:
    """What a name of any pack stands for; None where there is no such name."""
    if not is_forward(name):
        return _meaning_in_training(name)
    rest = name.removeprefix("transformer") if name.startswith("transformer:") else name
    for prefix in ("", "encoder.", "decoder.", "bert.", "transformer."):
        rest = rest.removeprefix(prefix)
        template = re.sub(r"\b(layer|h)\.\d+", r"\1.*", rest)
        names = {template.replace(".crossattention", attention) for attention in (".attention", ".attn")}
        for meaning in (*MEANINGS, *GPT2_MEANINGS):
            if meaning.name == template:
                return meaning
            if ".crossattention" in template and meaning.name in names:
                return meaning._replace(name=template, axes=meaning.axes.replace("T", "E"))
    return None


def _meaning_in_training(name: str) -> Meaning | None:
    """What a gradient is, or what an optimizer step made."""
    own, step = bare(name), step_of(name)
    after = f"after {step} optimizer step{'s' if step > 1 else ''}"
    if is_of_weight(name):
        text = f"the weight {after}" if step else "the gradient of the loss by the weight"
        return Meaning(name, "O I|I", text) if own.endswith((".weight", ".bias")) else None
    if step:
        return Meaning(name, "", f"the loss {after}") if own == "loss" else None
    meaning = meaning_of(own)
    return meaning and Meaning(name, meaning.axes, "the gradient of the loss by this value")


def axes_of(name: str, rank: int) -> list[str]:
    """The axes of a name's array of so many dimensions; numbered where the name is unknown."""
    meaning = meaning_of(name)
    for axes in meaning.axes.split("|") if meaning else ():
        if len(axes.split()) == rank:
            return axes.split()
    return [str(axis) for axis in range(rank)]


def as_table(meanings: Sequence[Meaning] = MEANINGS) -> str:
    """The table in Markdown."""
    rows = []
    for name, axes, text in meanings:
        shapes = " or ".join(f"`[{', '.join(possible.split())}]`" for possible in axes.split("|"))
        rows.append(f"| `{name}` | {shapes} | {text.format(**{field: field for field in FIELDS})} |")
    return "\n".join(["| name | shape | what it is |", "|---|---|---|", *rows])


def names(model: Any) -> str:
    """Every name that a pack of this model has, with the shape of its array and what it means for this model."""
    shapes = shapes_of(model)
    shown = {name: f"[{', '.join(_sizes(name, shape))}]" for name, shape in shapes.items()}
    width, shape_width = max(map(len, shown)), max(map(len, shown.values()))
    lines = [f"{name:<{width}}  {shape:<{shape_width}}  {_explained(model.config, name)}" for name, shape in shown.items()]
    return "\n".join([*lines, "", "B texts, S tokens, T keys (S, behind those in a cache), E tokens of an encoder's output"])


def _explained(config: Config, name: str) -> str:
    meaning, parts = meaning_of(name), parts_of_config(config)
    own = parts[part_of(parts, name)]
    return meaning.text.format(**{field: getattr(own, field, "") for field in FIELDS}) if meaning else ""


def _sizes(name: str, shape: tuple[int, ...]) -> list[str]:
    """The lengths by their letters, since a call decides them; all else as the model has it."""
    return [axis if axis in LENGTHS else str(size) for axis, size in zip(axes_of(name, len(shape)), shape, strict=True)]


def shapes_of(model: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every value of a short pass."""
    check_model(model)
    shapes: dict[str, tuple[int, ...]] = {}

    def look(name: str, x: Array) -> None:
        shapes[name] = x.shape

    run(model, _short_inputs(model), "float32", look)
    return shapes


def _short_inputs(model: Any) -> dict[str, Array]:
    """The smallest call that runs the whole model."""
    ids = np.zeros((1, 1), np.int64)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    config = model.config
    if isinstance(config, EncoderDecoderConfig):
        return {**inputs, "decoder_input_ids": ids, "decoder_attention_mask": np.ones_like(ids)}
    if isinstance(model, BertForMultipleChoice):
        return {name: x[None] for name, x in inputs.items()}
    if config.add_cross_attention:
        inputs["encoder_hidden_states"] = np.zeros((1, 1, config.hidden_size), np.float32)
    return inputs
