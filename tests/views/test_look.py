"""What a page says of a pass is what the pass computed."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import threading
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import npbert
from npbert import views
from npbert.cli import main
from npbert.views import attribution, heads, lens, one_number
from npbert.views.one_pass import run
from npbert.views.page import as_json

from ..builders import build, tiny

TEXT = "the cat [MASK] on mats"
KINDS = ("masked", "causal", "classifier", "relative", "base", "two", "answers", "tokens", "pretraining", "gpt2")


def data_of(view: views.View) -> dict[str, Any]:
    found = re.search(r'id="data">(.*?)</script>', view.html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def large_model(**fields: Any) -> Any:
    """Twelve layers of twelve heads, and little else."""
    sizes = {"hidden_size": 144, "num_hidden_layers": 12, "num_attention_heads": 12, "max_position_embeddings": 128}
    config = tiny(**{**sizes, **fields})
    scale = 0.3 * (144 / config.hidden_size) ** 0.5  # attention neither even nor all on one token, as after training
    return build("BertModel", config, dtype=np.float32, scale=scale)


def long_text(words: int) -> str:
    return " ".join(np.random.default_rng(0).choice(["the", "cat", "sat", "on", "mat"], words))


def unpacked(packed: dict[str, Any]) -> np.ndarray:
    data = zlib.decompress(base64.b64decode(packed["blob"]))
    return np.frombuffer(data, f"<{packed['kind']}").reshape(packed["shape"])


def traced(model: Any, tokenizer: Any, text: str = TEXT) -> npbert.Trace:
    with npbert.trace() as kept:
        model(**tokenizer([text], return_tensors="np"))
    return kept


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_can_be_looked_at(kind: str, models: dict[str, Any], tokenizer: npbert.BertTokenizer) -> None:
    view = views.look(models[kind], tokenizer, TEXT, "the mat" if kind == "two" else None)
    data = data_of(view)
    assert data["passes"][0]["digest"] in view.html
    assert bool(data["mattered"]) == bool(data["lens"]) == (kind != "base")
    assert [entry["title"] for entry in data["attention"]][-1].startswith("cross" if kind == "two" else "self")
    for name in view._pictures:
        ElementTree.fromstring(view.svg(name))
        ElementTree.fromstring(view.svg(name, theme="dark"))


def test_where_nothing_is_chosen_the_first_is_drawn(models: dict[str, Any], tokenizer: npbert.BertTokenizer) -> None:
    view = views.look(models["masked"], tokenizer, TEXT)
    for picture, choices in (
        ("head", ("layer", "head")),
        ("number", ("layer", "head", "query", "key")),
        ("mattered", ("target",)),
    ):
        assert view.svg(picture) == view.svg(picture, **dict.fromkeys(choices, 0))
        for choice in choices:
            assert view.svg(picture, **{choice: 1}) != view.svg(picture), (picture, choice)


def test_weights_of_heads_are_those_of_the_trace(models: dict[str, Any], tokenizer: npbert.BertTokenizer) -> None:
    kept = traced(models["masked"], tokenizer)
    for layer in data_of(views.look(models["masked"], tokenizer, TEXT))["attention"][0]["layers"]:
        weights = (unpacked(layer["whole"]) / 255.0) ** 2
        assert np.abs(weights - kept[f"{layer['path']}:probs"][0]).max() < 0.005


@pytest.mark.parametrize("kind", ["masked", "causal", "relative", "gpt2"])
def test_the_numbers_behind_a_weight_give_that_weight(
    kind: str, models: dict[str, Any], tokenizer: npbert.BertTokenizer
) -> None:
    done = run(models[kind], tokenizer, TEXT)
    (found,) = one_number.data(done, None, 10**7)
    for key, parts in found["heads"].items():
        layer, head = key.split(".")
        query, answers = unpacked(parts["query"]).astype(np.float64), unpacked(parts["key"])
        scores = query @ answers.T + (unpacked(parts["relative_scores"]) if "relative_scores" in parts else 0)
        scores = scores / found["divisors"][int(layer)] + (unpacked(found["masks"][layer]) if found["masks"] else 0)
        weights = npbert.ops.softmax(scores)
        path = f"transformer.h.{layer}.attn" if kind == "gpt2" else f"bert.encoder.layer.{layer}.attention.self"
        assert np.abs(weights - done.values[f"{path}:probs"][0, int(head)]).max() < 1e-6
        context = weights @ unpacked(parts["value"])
        size = query.shape[1]
        its_own = done.values[path + found["context"]][0][:, int(head) * size : (int(head) + 1) * size]
        assert np.abs(context - its_own).max() < 1e-5
    assert bool(found["masks"]) == (kind in ("causal", "gpt2"))


@pytest.mark.parametrize("kind", ["masked", "causal", "classifier", "two", "answers", "tokens", "gpt2"])
def test_shares_add_up_to_the_logit(kind: str, models: dict[str, Any], tokenizer: npbert.BertTokenizer) -> None:
    model = models[kind].astype(np.float64)
    done = run(model, tokenizer, TEXT, "the mat" if kind == "two" else None)
    chosen = attribution.targets(done, tokenizer, None, None)
    for target, found in zip(chosen, attribution.data(done, chosen, tokenizer)["targets"], strict=True):
        logit = np.asarray(done.output[target.name])[0][target.place]
        assert found["output"] == pytest.approx(logit, rel=1e-9)
        assert found["baseline"] + found["integrated"].sum() + found["rest"] == pytest.approx(logit, rel=1e-9)
        assert abs(found["rest"]) < 0.02 * max(abs(found["output"] - found["baseline"]), 0.1)
        special = np.array(done.reader.is_special)
        assert not found["integrated"][special].any()
        assert found["times_input"].any()


def test_the_largest_logits_at_the_mask_are_explained(models: dict[str, Any], tokenizer: npbert.BertTokenizer) -> None:
    done = run(models["masked"], tokenizer, TEXT)
    first, *_ = attribution.targets(done, tokenizer, None, None)
    logits = done.output.logits[0]
    assert first.place == (3, int(logits[3].argmax()))
    (asked,) = attribution.targets(done, tokenizer, 1, "cat")
    assert asked.place == (1, tokenizer.convert_tokens_to_ids("cat"))
    for position, logit, message in (
        (1, "dog", "there is no 'dog'"),
        (99, None, "position: takes 0 to"),
        (1, 999, "logit: takes 0 to"),
    ):
        with pytest.raises(npbert.InputError, match=message):
            attribution.targets(done, tokenizer, position, logit)
    assert not models["masked"].frozen


def test_the_gradient_beside_a_value_is_that_of_the_logit(models: dict[str, Any], tokenizer: npbert.BertTokenizer) -> None:
    model = models["classifier"].astype(np.float64)
    done = run(model, tokenizer, TEXT)
    target = attribution.targets(done, tokenizer, None, 1)[0]
    found = attribution.gradients_of_values(done, target)
    name = "bert.encoder.layer.1.output.dense"

    def logit(change: float) -> float:
        def observer(other: str, x: np.ndarray) -> np.ndarray:
            if other == name:
                x = x.copy()
                x[0, 2, 5] += change
            return x

        with npbert.tracing.observe(observer):
            return float(model(**done.inputs).logits[0, 1])

    assert found[f"grad:{name}"][0, 2, 5] == pytest.approx((logit(1e-5) - logit(-1e-5)) / 2e-5, rel=1e-5)


@pytest.mark.parametrize("kind", ["masked", "causal", "classifier", "two", "pretraining", "answers", "gpt2"])
def test_after_the_last_layer_it_says_what_the_model_says(
    kind: str, models: dict[str, Any], tokenizer: npbert.BertTokenizer
) -> None:
    done = run(models[kind], tokenizer, TEXT, "the mat" if kind == "two" else None)
    for found in lens.data(done, tokenizer):
        logits = np.atleast_2d(np.asarray(done.output[found["name"]])[0])
        ids = unpacked(found["ids"])[-1]
        assert np.array_equal(ids[:, 0], logits.argmax(axis=-1))
        shown = unpacked(found["logits"])[-1]
        assert np.abs(shown - np.take_along_axis(logits, ids, axis=-1)).max() < 1e-5
        assert set(found["words"]) == set(map(str, unpacked(found["ids"]).ravel()))
        assert unpacked(found["ids"]).shape[0] == done.speaker.config.num_hidden_layers + 1


def test_a_model_that_has_learned_nothing_is_told(models: dict[str, Any], tokenizer: npbert.BertTokenizer) -> None:
    untrained = npbert.BertModel(tiny(initializer_range=0.02), rng=np.random.default_rng(0))
    assert data_of(views.look(untrained, tokenizer, TEXT))["attention"][0]["uniform"]
    assert not data_of(views.look(models["base"], tokenizer, TEXT))["attention"][0]["uniform"]


def test_a_second_pass_is_kept_beside_the_first(models: dict[str, Any], tokenizer: npbert.BertTokenizer) -> None:
    data = data_of(views.look(models["masked"], tokenizer, TEXT, other_text="the mat [MASK] on cats"))
    assert len(data["passes"]) == 2
    here, other = (data[name] for name in ("attention", "other"))
    assert here[0]["layers"][0]["whole"]["shape"] == other["attention"][0]["layers"][0]["whole"]["shape"]
    assert here[0]["layers"][0]["whole"] != other["attention"][0]["layers"][0]["whole"]
    data = data_of(views.look(models["masked"], tokenizer, TEXT, other_model=models["relative"]))
    assert data["passes"][0]["digest"] != data["passes"][1]["digest"]


def test_the_drawing_of_a_number_has_the_whole_chain(models: dict[str, Any], tokenizer: npbert.BertTokenizer) -> None:
    for kind, path in (("relative", "bert.encoder.layer.1.attention.self"), ("gpt2", "transformer.h.1.attn")):
        done = run(models[kind], tokenizer, TEXT)
        drawing = views.look(models[kind], tokenizer, TEXT, gradients=False).svg("number", layer=1, head=2, query=3, key=1)
        score, masked, weight = (
            float(done.values[f"{path}:{part}"][0, 2, 3, 1]) for part in ("scores", "masked_scores", "probs")
        )
        assert f"their sum, the score: {score:.6g}<" in drawing
        assert (f"what the distance adds: {score:.6g} + " in drawing) == (kind == "relative")
        assert f" = {masked:.6g} (nothing is hidden here)" in drawing
        assert f"is {weight:.6g}<" in drawing
        lines = ("query of", "key of", "products", "value of", "times the weight", "the context of")
        assert all(line in drawing for line in lines)
        numbers = [int(number) for number in re.findall(r">(\d+)\. ", drawing)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) > 5
        assert drawing.count("<image") == 2 * 7
        size = done.values[f"{path}:query"].shape[-1]
        assert one_number.divisor_of(done, path) == pytest.approx(size**0.5 * (2 if kind == "gpt2" else 1))


def test_cosines_are_drawn_on_the_scale_from_minus_one_to_one(models: dict[str, Any], tokenizer: npbert.BertTokenizer) -> None:
    drawing = views.look(models["masked"], tokenizer, TEXT, gradients=False).svg("stream")
    assert drawing.count(">1  cosine<") == 3
    assert len(re.findall(">-1<", drawing)) == 3


def test_the_drawing_of_the_lens_is_at_the_position_that_matters(
    models: dict[str, Any], tokenizer: npbert.BertTokenizer
) -> None:
    view = views.look(models["masked"], tokenizer, TEXT, gradients=False)
    assert view.svg("lens") == view.svg("lens", position=3)
    assert "at token 3 ([MASK])" in view.svg("lens")
    assert view.svg("lens", position=0) != view.svg("lens")
    assert " at token" not in views.look(models["classifier"], tokenizer, TEXT, gradients=False).svg("lens")


def test_a_difference_is_a_drawing_too(models: dict[str, Any], tokenizer: npbert.BertTokenizer) -> None:
    view = views.look(models["masked"], tokenizer, TEXT, gradients=False, other_text="the mat [MASK] on cats")
    same = views.look(models["masked"], tokenizer, TEXT, gradients=False, other_text=TEXT)
    for picture in ("heads", "head"):
        ElementTree.fromstring(view.svg(picture, difference=True))
        assert view.svg(picture, difference=True) not in (view.svg(picture), same.svg(picture, difference=True))
        with pytest.raises(npbert.InputError, match="there is one pass alone"):
            views.look(models["masked"], tokenizer, TEXT, gradients=False).svg(picture, difference=True)
    longer = views.look(models["masked"], tokenizer, TEXT, gradients=False, other_text="the mat")
    with pytest.raises(npbert.InputError, match="of the same shape"):
        longer.svg("head", difference=True)


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_names_a_function_that_exists(kind: str, models: dict[str, Any], tokenizer: npbert.BertTokenizer) -> None:
    steps = data_of(views.look(models[kind], tokenizer, TEXT, "the mat" if kind == "two" else None, gradients=False))["walk"]
    whole_modules = {"bert", "encoder", "decoder", "cls", "transformer"}
    for step in steps:
        assert step["function"] or step["names"][0] in whole_modules or re.search(r"\.h\.\d+$", step["names"][0]), step["names"]
        room, *path = step["function"].partition(":")[0].partition(",")[0].partition("(")[0].split(".")
        if path:
            found: Any = getattr(npbert, room)
            for name in path:
                found = getattr(found, name)


def test_terms_of_the_embeddings_share_a_scale(models: dict[str, Any], tokenizer: npbert.BertTokenizer) -> None:
    *summed, last = data_of(views.look(models["masked"], tokenizer, TEXT, gradients=False))["pieces"][0]["strips"]
    assert len({strip["picture"]["largest"] for strip in summed}) == 1
    assert last["picture"]["largest"] != summed[0]["picture"]["largest"]


def test_every_layer_can_be_drawn_when_layers_are_chosen(models: dict[str, Any], tokenizer: npbert.BertTokenizer) -> None:
    view = views.look(models["masked"], tokenizer, TEXT, gradients=False, layers=[1])
    assert all("whole" in layer for layer in data_of(view)["attention"][0]["layers"])
    view = views.look(models["masked"], tokenizer, long_text(36), gradients=False, layers=[1])
    first, second = data_of(view)["attention"][0]["layers"]
    assert first["small"]["shape"] == [3, 32, 32]
    assert "whole" not in first
    assert second["whole"]["shape"] == [3, 38, 38]
    assert {key.partition(".")[0] for key in data_of(view)["number"][0]["heads"]} == {"1"}


def test_another_model_may_be_of_another_shape(models: dict[str, Any], tokenizer: npbert.BertTokenizer) -> None:
    other = build("BertForMaskedLM", tiny(num_hidden_layers=1, num_attention_heads=1), dtype=np.float32)
    data = data_of(views.look(models["masked"], tokenizer, TEXT, gradients=False, other_model=other))
    assert [layer["heads"] for layer in data["other"]["attention"][0]["layers"]] == [1]
    other = build("BertForMaskedLM", tiny(vocab_size=50), dtype=np.float32)
    with pytest.raises(npbert.InputError, match="other_model: has a vocabulary of 50 words, not"):
        views.look(models["masked"], tokenizer, TEXT, other_model=other)
    data = data_of(views.look(models["masked"], tokenizer, TEXT, gradients=False, other_model=other, other_tokenizer=tokenizer))
    assert len(data["passes"]) == 2


def test_two_passes_share_the_room_of_a_page(tokenizer: npbert.BertTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["npbert.views.look"], "SHORT_PAGE", 1_300_000)
    model = build("BertModel", tiny(num_hidden_layers=6, max_position_embeddings=128), dtype=np.float32, scale=0.3)
    for other in ({"other_text": long_text(125) + " mat"}, {"other_model": model}):
        view = views.look(model, tokenizer, long_text(126), **other)
        assert 900_000 < len(view.html.encode()) < 1_300_000
        data = data_of(view)
        here, there = (found["attention"][0]["layers"] for found in (data, data["other"]))
        whole = [number for number, layer in enumerate(here) if "whole" in layer]
        assert whole == [number for number, layer in enumerate(there) if "whole" in layer]
        assert 0 < len(whole) < 6
        assert all(layer["small"]["shape"] == [3, 64, 64] for layer in (*here, *there))
        assert 0 < len(data["number"][0]["heads"]) < data["number"][0]["of"] == 18


def test_twelve_layers_of_twelve_heads_fit_on_a_small_page(tokenizer: npbert.BertTokenizer) -> None:
    view = views.look(large_model(), tokenizer, long_text(126))
    assert len(view.html.encode()) < 4_000_000
    (attention,) = data_of(view)["attention"]
    assert all("whole" in layer for layer in attention["layers"])


def test_of_a_long_text_some_layers_are_whole(tokenizer: npbert.BertTokenizer) -> None:
    model = build("BertModel", tiny(num_hidden_layers=6, max_position_embeddings=200), dtype=np.float32)
    done = run(model, tokenizer, long_text(198))

    taken = len(as_json(heads.data([done], None, 10**8)))

    def whole_of(size: int, layers: list[int] | None = None) -> list[int]:
        ((attention,),) = heads.data([done], layers, size)
        assert all("small" in layer for layer in attention["layers"])
        return [number for number, layer in enumerate(attention["layers"]) if "whole" in layer]

    assert whole_of(taken) == [0, 1, 2, 3, 4, 5]
    assert whole_of(10**8, [4]) == [4]
    few = whole_of(taken * 2 // 3)
    assert 0 < len(few) < 6
    assert {0, 5} <= set(few)
    assert whole_of(0) == []


def test_what_cannot_be_shown_is_refused(models: dict[str, Any], tokenizer: npbert.BertTokenizer) -> None:
    with pytest.raises(npbert.InputError, match="layers: takes 0 to 1, got 2"):
        views.look(models["masked"], tokenizer, TEXT, layers=[2])
    with pytest.raises(npbert.InputTypeError, match="model: takes a model of npbert"):
        views.look("masked", tokenizer, TEXT)
    with pytest.raises(npbert.InputError, match="multiple choice"):
        views.look(build("BertForMultipleChoice", tiny(), dtype=np.float32), tokenizer, TEXT)
    with pytest.raises(npbert.InputError, match="head: takes 0 to 2"):
        views.look(models["masked"], tokenizer, TEXT).svg("head", head=3)


def test_the_command_writes_a_page(
    models: dict[str, Any], tokenizer: npbert.BertTokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models["masked"].save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    words = ["look", TEXT, "--model", str(tmp_path / "model"), "-o", str(tmp_path / "page.html")]
    assert main([*words, "--position", "1", "--logit", "cat", "--other-text", "the mat"]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'page.html'}: BertForMaskedLM, 8 tokens, 2 layers, ")
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text("utf-8")))
    reader.start()
    assert main([*words[:-1], str(tmp_path / "pipe"), "--no-gradients"]) == 0
    reader.join(10)
    assert capsys.readouterr().out == ""  # the page has gone to whoever reads, perhaps over standard output
    assert read[0].endswith("</html>\n")
    assert main([*words, "--logit", "dog"]) == 2
    assert "there is no 'dog'" in capsys.readouterr().err
