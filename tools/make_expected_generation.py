"""Let the reference generate: what tests/models/test_generating.py and test_encoder_decoder.py hold npbert against.

    python tools/make_expected_generation.py        # needs transformers and torch; writes tests/data/expected/generation

Each folder is a tiny random checkpoint as the reference saves it. cases.json lists calls of `generate` and what the reference
returned; forward.npz holds an encoder-decoder's logits and losses for the arguments in forward_inputs.json.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

DATA = Path(__file__).parent.parent / "tests" / "data" / "expected" / "generation"
SIZES = {
    "vocab_size": 23,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 40,
    "attn_implementation": "eager",
}
DECODER = {"is_decoder": True, "add_cross_attention": True}

ENDS = [6, 9, 18]
PROMPTS = [[5, 9, 13, 2], [0, 0, 7, 3], [0, 11, 4, 19]]
MASK = [[1, 1, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]]
PADDED = {"input_ids": PROMPTS, "attention_mask": MASK}
BEAMS = {**PADDED, "num_beams": 4, "eos_token_id": 6}

CONTINUE: list[dict[str, Any]] = [
    {"input_ids": [[5, 9, 13]]},
    {"input_ids": PROMPTS, "max_new_tokens": 6},
    {**PADDED, "max_new_tokens": 12, "token_type_ids": [[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]},
    {**PADDED, "max_new_tokens": 12, "eos_token_id": ENDS},
    {**PADDED, "max_new_tokens": 12, "eos_token_id": ENDS, "pad_token_id": 21, "min_new_tokens": 5},
    {**PADDED, "max_length": 14, "min_length": 10, "eos_token_id": ENDS, "repetition_penalty": 1.8},
    {**PADDED, "max_new_tokens": 10, "repetition_penalty": 0.6, "no_repeat_ngram_size": 2},
    {**BEAMS, "max_new_tokens": 12},
    {**BEAMS, "max_new_tokens": 12, "eos_token_id": ENDS, "num_return_sequences": 3},
    {**BEAMS, "max_new_tokens": 12, "eos_token_id": ENDS, "num_return_sequences": 4, "early_stopping": True},
    {**BEAMS, "max_new_tokens": 12, "eos_token_id": [9, 14], "num_return_sequences": 2, "length_penalty": 3.0},
    {**BEAMS, "max_new_tokens": 12, "eos_token_id": [9, 14], "length_penalty": 3.0, "early_stopping": "never"},
    {**BEAMS, "max_new_tokens": 12, "eos_token_id": [9, 14], "length_penalty": -2.0, "pad_token_id": 21},
    {**BEAMS, "max_new_tokens": 12, "repetition_penalty": 1.5, "min_new_tokens": 4, "no_repeat_ngram_size": 3},
]
SOURCES = {"input_ids": [[5, 9, 13, 2, 8], [7, 3, 0, 0, 0]], "attention_mask": [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]}
VARIED = {**SOURCES, "max_new_tokens": 12, "no_repeat_ngram_size": 2}
WRITE: list[dict[str, Any]] = [
    {"input_ids": SOURCES["input_ids"]},
    {**VARIED, "eos_token_id": ENDS},
    {**VARIED, "token_type_ids": [[0, 0, 1, 1, 1], [0, 1, 0, 0, 0]], "repetition_penalty": 1.4},
    {**VARIED, "decoder_input_ids": [[9, 4], [8, 3]], "eos_token_id": ENDS},
    {**VARIED, "num_beams": 3, "num_return_sequences": 3, "eos_token_id": ENDS},
    {**VARIED, "num_beams": 3, "length_penalty": 2.0, "early_stopping": True, "eos_token_id": 14},
]
FORWARD = {
    "labels": {**SOURCES, "labels": [[3, 9, 4, 6], [8, 6, -100, -100]]},
    "decoder_input_ids": {**SOURCES, "decoder_input_ids": [[1, 3, 9], [1, 8, 6]]},
}


def randomize(model: Any, seed: int) -> Any:
    """Weights with which the best token is clearly the best and depends on all that stands before it.

    The word table's rows are equally long: otherwise the longest one would win everywhere.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("LayerNorm.weight"):
                parameter.copy_(1 + 0.2 * noise)
            elif "word_embeddings" in name or "decoder.weight" in name:
                parameter.copy_(3 * noise / noise.norm(dim=-1, keepdim=True))
            else:
                parameter.copy_(noise * (0.1 if "bias" in name else 0.8))
    return model.eval()


def language_model(seed: int, **fields: Any) -> Any:
    return randomize(transformers.BertLMHeadModel(transformers.BertConfig(**SIZES, is_decoder=True, **fields)), seed)


def encoder_decoder(seed: int, encoder: dict[str, Any], decoder: dict[str, Any], **fields: Any) -> Any:
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.BertConfig(**{**SIZES, **encoder}),
        transformers.BertConfig(**{**SIZES, **DECODER, **decoder}),
        decoder_start_token_id=1,
        pad_token_id=0,
        attn_implementation="eager",
        **fields,
    )
    return randomize(transformers.EncoderDecoderModel(config), seed)


def tensors(arguments: dict[str, Any]) -> dict[str, Any]:
    arrays = ("input_ids", "attention_mask", "token_type_ids", "decoder_input_ids", "labels")
    return {name: torch.tensor(value) if name in arrays else value for name, value in arguments.items()}


def generate(model: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    # Where attention knows distances, the reference measures them wrongly from the second token in its cache on.
    decoder = getattr(model.config, "decoder", model.config)
    found = model.generate(
        **tensors(arguments),
        do_sample=False,
        use_cache=decoder.position_embedding_type == "absolute",
        return_dict_in_generate=True,
        output_scores=True,
    )
    scores = getattr(found, "sequences_scores", None)
    return {"sequences": found.sequences.tolist(), "scores": None if scores is None else scores.tolist()}


def main() -> None:
    transformers.logging.set_verbosity_error()
    shutil.rmtree(DATA, ignore_errors=True)
    models = {
        "language_model": language_model(3),
        "relative": language_model(5, position_embedding_type="relative_key_query", tie_word_embeddings=False),
        "encoder_decoder": encoder_decoder(12, {"hidden_size": 18, "vocab_size": 31}, {}),
        "tied": encoder_decoder(9, {}, {}, tie_encoder_decoder=True),
    }
    cases = []
    forward: dict[str, np.ndarray] = {}
    for name, model in models.items():
        model.save_pretrained(DATA / name)
        writes = name in ("encoder_decoder", "tied")
        cases += [{"model": name, "arguments": a, **generate(model, a)} for a in (WRITE if writes else CONTINUE)]
        for kind, arguments in FORWARD.items() if writes else ():
            with torch.no_grad():
                out = model(**tensors(arguments))
            forward[f"{name}.{kind}.logits"] = out.logits.numpy()
            if out.loss is not None:
                forward[f"{name}.{kind}.loss"] = out.loss.numpy()
    lines = ",\n".join(json.dumps(case) for case in cases)
    (DATA / "cases.json").write_text(f"[\n{lines}\n]\n")
    (DATA / "forward_inputs.json").write_text(json.dumps(FORWARD) + "\n")
    np.savez_compressed(DATA / "forward.npz", **forward)


if __name__ == "__main__":
    main()
