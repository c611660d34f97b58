"""Train npbert-small, the checkpoint that the package carries, by npbert alone, from free English text in Debian's packages.

python tools/pretrain.py corpus HOME       fetch the packages and write train.txt, held_out.txt and sources.json
python tools/pretrain.py train HOME        train; started again after an interruption, it goes on
python tools/pretrain.py measure HOME      the figures on held-out text, and those of a guess from both neighbours
python tools/pretrain.py pack HOME         write the checkpoint in float16 into the package, with its model card
python tools/pretrain.py compare HOME      the first 200 steps beside the reference's own (needs torch and transformers)
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import subprocess
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import npbert
from npbert import training, views
from npbert.checkpoints import safetensors
from npbert.training.curve import charts_of
from npbert.training.documents import encode_documents, read_documents
from npbert.training.folder import LOG, STATE, read_log
from npbert.training.language import pretraining_lessons
from npbert.training.loop import Run, Settings, steps
from npbert.training.train import train
from npbert.training.vocabulary import build_vocabulary

PACKAGED = Path(npbert.__file__).parent / "checkpoints" / "npbert-small"
TESTED = Path(__file__).parents[1] / "tests" / "data" / "held_out.txt"  # what the tests ask it for
PACKAGES = ("bible-kjv", "bible-kjv-text", "wordnet-base", "jargon-text")
HELD_OUT = 25  # one document in so many
SIZES: dict[str, Any] = {
    "hidden_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "max_position_embeddings": 128,
    "initializer_range": 0.04,  # 0.02 is for a hidden size of 768; what a layer adds is to have the same share here
    "hidden_dropout_prob": 0.0,  # the model is too small for the text to be learned by heart
    "attention_probs_dropout_prob": 0.0,
}
VOCABULARY = 12000
COMPARED = "largest_difference_to_the_reference.txt"
PIECES: dict[str, Any] = {"probability": 0.2}  # of a token to be masked: more to learn from each text than the usual 0.15
# Whole words are what it is to find: the other pieces of a word would tell most of it, and a chosen word that stays all of it.
WORDS: dict[str, Any] = {**PIECES, "whole_words": True, "mask_replace_prob": 1, "random_replace_prob": 0}
COMMON: dict[str, Any] = {"betas": (0.9, 0.98), "eps": 1e-6}
PHASES: dict[str, dict[str, Any]] = {  # short texts first, which cost less
    "short": {
        "max_length": 64,
        "batch_size": 32,
        "masking": PIECES,
        "settings": Settings(steps=15691, lr=1.5e-3, warmup=300, schedule="constant", **COMMON),
    },
    "long": {
        "max_length": 128,
        "batch_size": 8,
        "masking": PIECES,
        "settings": Settings(steps=9500, lr=1.5e-3, warmup=50, accumulate=2, **COMMON),
    },
    "words": {
        "max_length": 128,
        "batch_size": 8,
        "masking": WORDS,
        "settings": Settings(steps=12000, lr=1e-3, warmup=50, accumulate=2, seed=1, **COMMON),
    },
}
LAST = list(PHASES)[-1]
AFTERWARDS = {"constant": "which stays", "linear": "then in a line to 0"}  # how the card tells a schedule


# --- the text ---------------------------------------------------------------------------------------------------------


def make_corpus(home: Path) -> None:
    """Every document as a sentence a line, an empty line between documents; one in 25 is held out, chosen by its text."""
    unpacked, sources = unpack(home, PACKAGES)
    counts: dict[str, Counter[str]] = {"train": Counter(), "held_out": Counter()}
    texts: dict[str, list[str]] = {"train": [], "held_out": []}
    for source, documents in (("bible", bible(unpacked)), ("wordnet", wordnet(unpacked)), ("jargon", jargon(unpacked))):
        for document in documents:
            part = "held_out" if zlib.crc32(document[0].encode()) % HELD_OUT == 0 else "train"
            texts[part].append("\n".join(document))
            counts[part][source] += sum(len(sentence.split()) for sentence in document)
    for part, found in texts.items():
        (home / f"{part}.txt").write_text("\n\n".join(found) + "\n", "utf-8")
    record = {"packages": sources, "words": {part: dict(count) for part, count in counts.items()}}
    (home / "sources.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


def unpack(home: Path, packages: Sequence[str]) -> tuple[Path, dict[str, str]]:
    """Fetch and unpack Debian packages: the folder that holds one folder for each, and the SHA-256 of each package's file."""
    unpacked = home / "packages"
    unpacked.mkdir(parents=True, exist_ok=True)
    sources = {}
    for package in packages:
        if not list(unpacked.glob(f"{package}_*.deb")):
            subprocess.run(["apt-get", "download", package], cwd=unpacked, check=True)
        (file,) = unpacked.glob(f"{package}_*.deb")
        sources[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
        subprocess.run(["dpkg-deb", "-x", file, unpacked / package], check=True)
    return unpacked, sources


def bible(unpacked: Path) -> Iterator[list[str]]:
    """A document a chapter, a sentence a verse."""
    # The program takes no absolute path for its data, and it ends with an error status after it has printed everything.
    command = ["bible-kjv/usr/bin/bible", "-d", "bible-kjv-text/usr/lib/bible.data", "-f", "gen1:1-rev22:21"]
    printed = subprocess.run(command, cwd=unpacked, capture_output=True, text=True).stdout
    if "\nRev22:21 " not in printed:
        raise SystemExit(f"{unpacked / command[0]}: did not print the whole text")
    chapters: dict[str, list[str]] = {}
    for line in printed.splitlines():
        place, _, verse = line.partition(" ")
        chapters.setdefault(place.partition(":")[0], []).append(verse)
    yield from chapters.values()


def wordnet(unpacked: Path) -> Iterator[list[str]]:
    """A document for ten neighbouring meanings of one subject: each its definition, and its examples as further sentences."""
    for kind in ("noun", "verb", "adj", "adv"):
        subject, document = "", []
        lines = (unpacked / f"wordnet-base/usr/share/wordnet/data.{kind}").read_text("utf-8").splitlines()
        for number, line in enumerate(line for line in lines if not line.startswith("  ")):
            if document and (number % 10 == 0 or line.split()[1] != subject):
                yield document
                document = []
            subject = line.split()[1]
            parts = re.split(r';\s*(?=")|(?<=")\s*[;,]\s*', line.partition(" | ")[2])
            document += [sentence for part in parts if (sentence := part.strip(' ";'))]
        yield document


def jargon(unpacked: Path) -> Iterator[list[str]]:
    """A document an entry, cut into sentences."""
    packed = (unpacked / "jargon-text/usr/share/doc/jargon-text/jargon.txt.gz").read_bytes()
    text = gzip.decompress(packed).decode("utf-8", "replace")
    for entry in re.split(r"\n\s*:(?=[^:\n]+:)", text)[1:]:
        body = re.sub(r"[{}]", "", entry.partition(":")[2]).translate(str.maketrans("“”‘’—", "\"\"''-"))
        paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", body)]
        sentences = [one for part in paragraphs for one in re.split(r"(?<=[.!?])\s+(?=[A-Z\"])", part) if len(one.split()) > 3]
        if sentences:
            yield sentences


# --- training ---------------------------------------------------------------------------------------------------------


def tokenizer_of(home: Path) -> npbert.BertTokenizer:
    """The vocabulary is made once, from the training text."""
    vocabulary = home / "vocab.txt"
    if not vocabulary.exists():
        lines = (home / "train.txt").read_text("utf-8").splitlines()
        vocabulary.write_text("\n".join(build_vocabulary(lines, VOCABULARY)) + "\n", "utf-8")
    return npbert.BertTokenizer(vocabulary, model_max_length=SIZES["max_position_embeddings"])


def documents_of(home: Path, part: str, tokenizer: npbert.BertTokenizer) -> Any:
    """The ids of one part of the text."""
    return encode_documents(
        read_documents(home / f"{part}.txt"), lambda texts: tokenizer(texts, add_special_tokens=False)["input_ids"]
    )


def phase_of(home: Path, phase: str) -> Run:
    """The run of one phase at its beginning; each but the first begins with what the one before left."""
    tokenizer = tokenizer_of(home)
    number = list(PHASES).index(phase)
    if number == 0:
        config = npbert.BertConfig(vocab_size=len(tokenizer), **SIZES)
        model = npbert.BertForPreTraining(config, rng=np.random.default_rng(0))
        look_at_neighbours(model)
    else:
        model = npbert.BertForPreTraining.from_pretrained(home / list(PHASES)[number - 1])
    chosen = PHASES[phase]
    lessons = pretraining_lessons(
        tokenizer,
        documents_of(home, "train", tokenizer),
        documents_of(home, "held_out", tokenizer)[::4],
        batch_size=chosen["batch_size"],
        max_length=chosen["max_length"],
        **chosen["masking"],
    )
    return Run(model, lessons, chosen["settings"])


def look_at_neighbours(model: npbert.BertForPreTraining) -> None:
    """Let the heads of the lowest layer begin by looking at the words beside each, one and two places to the left and right.

    With random weights alone, the steps of an hour are needed to find out that neighbours matter, and until then little else is
    learned. So position p begins as angles: cos(w p) and sin(w p) for many frequencies w. To turn every angle by w o, a
    linear map, makes p into p + o. Where the query is turned and the key is not, their product, the sum of cos(w (p + o - k)),
    is large at key k = p + o and small elsewhere. Each head has frequencies of its own. All of it is free to change.
    """
    config = model.config
    frequencies = np.pi * (np.arange(config.hidden_size // 2) + 0.5) / (config.hidden_size // 2)
    angles = np.arange(config.max_position_embeddings)[:, None] * frequencies  # [M, D / 2]
    waves = np.stack([np.cos(angles), np.sin(angles)], axis=-1).reshape(len(angles), -1)  # [M, D]
    # Embeddings are as large as those of words.
    model.bert.embeddings.position_embeddings.weight = (np.sqrt(2) * config.initializer_range * waves).astype(np.float32)
    attention = model.bert.encoder.layer[0].attention.self
    query, key = attention.query.weight / 10, attention.key.weight / 10  # [D, D]: what is left of the random ones
    for head, offset in enumerate((-1, 1, -2, 2)):
        for number, frequency in enumerate(frequencies[head :: config.num_attention_heads]):
            row = head * config.head_size + 2 * number
            column = 2 * (number * config.num_attention_heads + head)
            turn = np.array(
                [
                    [np.cos(frequency * offset), -np.sin(frequency * offset)],
                    [np.sin(frequency * offset), np.cos(frequency * offset)],
                ]
            )
            query[row : row + 2, column : column + 2] += 1.25 * turn
            key[row : row + 2, column : column + 2] += 1.25 * np.eye(2)
    attention.query.weight, attention.key.weight = query, key


def train_phases(home: Path) -> None:
    """All phases, from where the last call was interrupted."""
    for phase in PHASES:
        done = home / phase
        if (done / "config.json").exists() and not (done / STATE).exists():
            continue
        run = phase_of(home, phase)

        def save_model(directory: Path, run: Run = run) -> None:
            run.model.save_pretrained(directory)
            tokenizer_of(home).save_pretrained(directory)

        # The best of all evaluations is kept.
        print(
            phase, train(run, done, save_model=save_model, evaluate_every=250, save_every=100, resume=(done / STATE).exists())
        )


# --- figures ----------------------------------------------------------------------------------------------------------


def words_of(tokenizer: npbert.BertTokenizer, text: str) -> list[str]:
    """The words and punctuation marks of a text, as the tokenizer parts them."""
    backend = tokenizer.backend_tokenizer
    return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))]


class Neighbours:
    """A guess for a word from the words beside it: the one that stood between both most often in the training text.

    Where the two were never seen together, the word that followed the left one most often, then the one before the right one.
    """

    def __init__(self, sentences: Sequence[Sequence[str]]) -> None:
        self.counts: list[dict[Any, Counter[str]]] = [defaultdict(Counter) for _ in range(4)]
        for words in sentences:
            framed = ["<", *words, ">"]
            for left, word, right in zip(framed, framed[1:], framed[2:], strict=False):
                for counts, key in zip(self.counts, ((left, right), left, right, ""), strict=True):
                    counts[key][word] += 1

    def guess(self, left: str, right: str) -> str:
        """The likeliest word between two."""
        for counts, key in zip(self.counts, ((left, right), left, right, ""), strict=True):
            if key in counts:
                return counts[key].most_common(1)[0][0]
        raise AssertionError("the last table has one key, which is there")


def measure(home: Path, model_folder: Path, samples: int = 20000) -> dict[str, float]:
    """How many words of held-out text are found when one word alone is masked, by the model and by the neighbours' guess.

    Each word of the text is as likely to be asked for. One of several pieces is found when every piece is.
    """
    tokenizer = tokenizer_of(home)
    model = npbert.BertForPreTraining.from_pretrained(model_folder)
    parts = {
        part: [words_of(tokenizer, sentence) for document in read_documents(home / f"{part}.txt") for sentence in document]
        for part in ("train", "held_out")
    }
    neighbours = Neighbours(parts["train"])
    places = [
        (words, place)
        for words in parts["held_out"]
        if len(words) < 100
        for place, word in enumerate(words)
        if any(letter.isalnum() for letter in word)
    ]
    asked = [places[number] for number in np.random.default_rng(0).permutation(len(places))[:samples]]
    asked.sort(key=lambda words_and_place: len(words_and_place[0]))  # a batch of similar length needs little padding
    pieces = {word: tokenizer(word, add_special_tokens=False)["input_ids"] for words, _ in asked for word in words}
    found: dict[str, list[bool]] = {"model": [], "neighbours": []}
    for start in range(0, len(asked), 32):
        rows, wanted = [], []
        for words, place in asked[start : start + 32]:
            ids = [pieces[word] for word in words]
            masked = [*ids[:place], [tokenizer.mask_token_id] * len(ids[place]), *ids[place + 1 :]]
            rows.append(
                [tokenizer.cls_token_id, *(piece for word in masked for piece in word), tokenizer.sep_token_id][
                    : SIZES["max_position_embeddings"]
                ]
            )
            wanted.append(ids[place])
            framed = ["<", *words, ">"]
            found["neighbours"].append(neighbours.guess(framed[place], framed[place + 2]) == words[place])
        batch = training.padded([{"input_ids": row} for row in rows], tokenizer.pad_token_id)
        logits = model(**batch).prediction_logits
        for row, right, scores in zip(rows, wanted, logits, strict=True):
            at = [place for place, token in enumerate(row) if token == tokenizer.mask_token_id]
            found["model"].append(len(at) == len(right) and scores[at].argmax(axis=-1).tolist() == right)
    figures = {name: float(np.mean(hits)) for name, hits in found.items()}
    return figures | {"ratio": figures["model"] / figures["neighbours"], "samples": len(found["model"])}


def compare_with_reference(home: Path, count: int = 200) -> float:
    """The largest difference of the loss over the first steps, from the same weights and batches."""
    import torch
    import transformers

    run = phase_of(home, "short")
    settings = run.settings
    config = transformers.BertConfig(vocab_size=run.model.config.vocab_size, **SIZES, attn_implementation="eager")
    theirs = transformers.BertForPreTraining(config).train()
    start = {name: torch.tensor(array.copy()) for name, array in run.model.state_dict().items()}
    theirs.load_state_dict(start, strict=False)
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in theirs.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)
    assert settings.schedule == "constant"
    schedule = transformers.get_constant_schedule_with_warmup(optimizer, settings.warmup)
    learned: list[Any] = []
    arguments = run.lessons.arguments

    def remembered(batch: Any, rng: np.random.Generator) -> Any:
        learned.append(arguments(batch, rng))
        return learned[-1]

    run.lessons = run.lessons._replace(arguments=remembered)
    worst = 0.0
    for figures in steps(run):
        batch = {name: torch.tensor(x) for name, x in learned[-1].items() if name != "sparse_prediction"}
        optimizer.zero_grad()
        loss = theirs(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), settings.max_norm)
        optimizer.step()
        schedule.step()
        worst = max(worst, abs(figures["loss"] - loss.item()))
        if figures["step"] % 20 == 0:
            print(f"step {figures['step']}: ours {figures['loss']:.6f}, the reference's {loss.item():.6f}, worst {worst:.2e}")
        if figures["step"] == count:
            break
    return worst


def pack(home: Path) -> None:
    """The checkpoint as the package carries it, with its model card and its curve."""
    model = npbert.BertForPreTraining.from_pretrained(home / LAST)
    model.save_pretrained(PACKAGED)
    arrays = {name: array.astype(np.float16) for name, array in model.named_parameters()}
    safetensors.write(PACKAGED / "model.safetensors", arrays, {"format": "pt"})
    tokenizer_of(home).save_pretrained(PACKAGED)
    logs = {phase: read_log(home / phase / LOG) for phase in PHASES}
    joined = [line | {"step": line["step"] + offset_of(phase)} for phase, log in logs.items() for line in log]
    (PACKAGED / "curve.svg").write_text(views.curves("Training", charts_of(joined)).svg("curve"), "utf-8")
    TESTED.write_text("\n".join(held_out_sentences(home)) + "\n", "utf-8")
    figures = measure(home, PACKAGED)  # of the weights as they are stored
    (PACKAGED / "README.md").write_text(
        model_card(model, json.loads((home / "sources.json").read_text()), joined, figures, compared(home)), "utf-8"
    )


def held_out_sentences(home: Path, count: int = 150) -> list[str]:
    """Some sentences of ordinary length from the held-out text."""
    sentences = [sentence for document in read_documents(home / "held_out.txt") for sentence in document]
    ordinary = [sentence for sentence in sentences if 5 <= len(sentence.split()) <= 40]
    return [ordinary[number] for number in np.random.default_rng(0).permutation(len(ordinary))[:count]]


def compared(home: Path) -> str:
    """A sentence on the comparison with the reference, if it was made."""
    if not (home / COMPARED).exists():
        return ""
    worst = (home / COMPARED).read_text().strip()
    same = "The reference, from the same weights and batches, has the same losses"
    return f"\n{same}: over 200 steps they differ by {worst} at most.\n"


def offset_of(phase: str) -> int:
    """How many steps the phases before have."""
    names = list(PHASES)
    return sum(PHASES[name]["settings"].steps for name in names[: names.index(phase)])


def model_card(
    model: Any, sources: dict[str, Any], log: Sequence[dict[str, Any]], figures: dict[str, float], comparison: str
) -> str:
    """What the checkpoint is, what it learned from, and how good it is."""
    evaluations = [line for line in log if "lr" not in line]
    shown = [*evaluations[:: max(1, len(evaluations) // 10)][:-1], evaluations[-1]]
    names = ("eval_loss", "eval_masked_accuracy", "eval_next_sentence_accuracy")
    curve = "\n".join(f"| {line['step']} | {' | '.join(f'{line[name]:.3f}' for name in names)} |" for line in shown)
    packages = "\n".join(f"- `{name}`, SHA-256 `{digest}`" for name, digest in sources["packages"].items())
    words = ", ".join(f"{count:,} from {name}" for name, count in sources["words"]["train"].items())
    phases = "\n".join(
        f"- {settings.steps:,} steps of {chosen['batch_size'] * settings.accumulate} texts of up to {chosen['max_length']} "
        f"tokens, learning rate up to {settings.lr:g} after {settings.warmup} steps, {AFTERWARDS[settings.schedule]}"
        for chosen in PHASES.values()
        for settings in [chosen["settings"]]
    )
    tokens = sum(line["tokens"] for line in log if "lr" in line)
    config, share = model.config, f"{PIECES['probability']:.0%}"
    return f"""# npbert-small

A small BERT for English, trained by npbert alone (NumPy, on a processor) with both tasks of the paper: masked words and next
sentences. {model.num_parameters():,} weights in float16: {config.num_hidden_layers} layers, hidden size {config.hidden_size},
{config.num_attention_heads} heads, {config.vocab_size:,} lower-case WordPieces, {config.max_position_embeddings} positions.

It is there so that examples, tests and fine-tuning work without a network. It knows the words of its texts: the King James
Bible, dictionary definitions, the slang of programmers. It is no source of facts, and it repeats the views of its texts.

## Data

Words: {words}. The Debian packages:

{packages}

- The King James Bible is in the public domain (in the United Kingdom its printing is a privilege of the Crown).
- WordNet 3.0: Copyright 2006 by Princeton University. All rights reserved; free for any purpose. THIS SOFTWARE AND DATABASE IS
  PROVIDED "AS IS" AND PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES, EXPRESS OR IMPLIED.
- The Jargon File is in the public domain.

One document in {HELD_OUT}, chosen by its text, was held out.

## Training

{phases}

Of each part the weights of the best evaluation were kept. The heads of the lowest layer began by looking at the words one and
two places to the left and right; all other weights began at random. AdamW with weight decay 0.01, gradients clipped to norm 1,
no dropout. {share} of the tokens were masked; in the last part {share} of the words, each with all its pieces and always by
`[MASK]`. In all, {tokens:,.0f} tokens were read.
{comparison}
## Held-out figures

At {figures["samples"]:,} places of the held-out text one word alone is masked, and its sentence is all there is. Of these words

- the model finds **{figures["model"]:.3f}**,
- a guess counted from both neighbours in the training text finds {figures["neighbours"]:.3f}.

The ratio is {figures["ratio"]:.2f}.

While it was trained, on a part of the held-out text, masked as the training text was (whole words are harder):

| step | loss | masked tokens found | next sentences told |
|---|---|---|---|
{curve}

![the losses](curve.svg)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["corpus", "train", "measure", "pack", "compare"])
    parser.add_argument("home", type=Path)
    parser.add_argument("--model", type=Path, help="measure: another checkpoint than the last phase's")
    args = parser.parse_args()
    if args.verb == "corpus":
        make_corpus(args.home)
    elif args.verb == "train":
        train_phases(args.home)
    elif args.verb == "measure":
        print(json.dumps(measure(args.home, args.model or args.home / LAST), indent=2))
    elif args.verb == "pack":
        pack(args.home)
    else:
        worst = compare_with_reference(args.home)
        (args.home / COMPARED).write_text(f"{worst:.1e}\n")
        print(f"largest difference of the loss: {worst:.2e}")


if __name__ == "__main__":
    sys.exit(main())
