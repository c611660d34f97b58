"""Task objects in other processes: what a pickle of one holds, and what comes out of it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert.tasks import Pooling, places

from . import cases
from .cases import TEXTS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cases.model("base").save_pretrained(tmp_path)
    cases.tokenizer().save_pretrained(tmp_path)
    return tmp_path


def without_cache() -> None:
    """As in another process, which has loaded nothing yet."""
    places._loaded.cache_clear()


def weights_in(pickled: bytes, model: Any) -> bool:
    """Whether a pickle holds the largest of the weights."""
    return max((x for x in model.parameters()), key=np.size).tobytes() in pickled


def test_a_pickle_holds_where_the_checkpoint_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    task = npbert.Embedder(folder.name)  # a path that means nothing elsewhere
    pickled = pickle.dumps(task)
    assert not weights_in(pickled, task.model)
    assert len(pickled) < 20_000
    monkeypatch.chdir("/")
    without_cache()
    again = pickle.loads(pickled)
    assert type(again) is npbert.Embedder
    np.testing.assert_array_equal(again(TEXTS), task(TEXTS))
    third = pickle.loads(pickled)
    ours, theirs = again.model.state_dict(), third.model.state_dict()
    assert all(ours[name] is theirs[name] for name in ours | theirs)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(third))(TEXTS), task(TEXTS))


@pytest.mark.parametrize("change", ["weights", "file", "gone", "heads", "settings"])
def test_what_is_no_longer_its_checkpoint_travels_itself(folder: Path, change: str) -> None:
    task = npbert.Embedder(str(folder))
    if change == "weights":
        task.model.weights.replace({"embeddings.LayerNorm.bias": task.model.embeddings.LayerNorm.bias + 1})
    elif change == "file":
        cases.model("base", seed=2).save_pretrained(folder)
    elif change == "gone":
        (folder / "model.safetensors").unlink()
    elif change == "heads":
        task.model.prune_heads({0: [1]})
    else:
        task.model.generation_config.num_beams = 3
    expected = task(TEXTS)
    pickled = pickle.dumps(task)
    assert weights_in(pickled, task.model)
    without_cache()
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again(TEXTS), expected)
    assert again.model.generation_config == task.model.generation_config


def test_another_file_at_the_same_place_is_refused(folder: Path) -> None:
    pickled = pickle.dumps(npbert.Embedder(str(folder)))
    cases.model("base", seed=2).save_pretrained(folder)
    without_cache()
    with pytest.raises(npbert.FileError, match="is another than it was where this task was pickled"):
        pickle.loads(pickled)


def test_a_model_from_nowhere_travels_itself() -> None:
    model = cases.model("masked")
    task = npbert.pipeline("fill-mask", model=model, tokenizer=cases.tokenizer(), top_k=2)
    again = pickle.loads(pickle.dumps(task))
    assert type(again) is type(task)
    assert again("A [MASK].") == task("A [MASK].")


def test_changed_settings_of_a_tokenizer_travel(folder: Path) -> None:
    task = npbert.Embedder(str(folder))
    task.tokenizer.add_tokens(["zebrafish"])
    without_cache()
    again = pickle.loads(pickle.dumps(task))
    assert again.tokenizer.tokenize("zebrafish") == ["zebrafish"]


def test_the_pooling_travels_and_the_token_does_not(folder: Path) -> None:
    task = npbert.pipeline("embed", str(folder), token="a secret", pooling=Pooling(modes=("cls",)))
    pickled = pickle.dumps(task)
    assert b"a secret" not in pickled
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again(TEXTS[0]), task(TEXTS[0]))
    assert again.options["pooling"] == Pooling(modes=("cls",))


def test_a_table_comes_back_with_the_answers() -> None:
    model, tokenizer = cases.model("four"), cases.tokenizer()
    classify = npbert.pipeline("text-classification", model=model, tokenizer=tokenizer)
    table = {"number": [1, 2], "text": np.array(TEXTS[:2])}
    out = classify(table)
    assert list(out) == ["number", "text", "label", "score"]
    assert [{"label": a, "score": b} for a, b in zip(out["label"], out["score"], strict=True)] == classify(TEXTS[:2])
    pairs = classify({"text": TEXTS[:2], "text_pair": TEXTS[1:3]})
    assert pairs["label"].tolist() == [one["label"] for one in classify([(TEXTS[0], TEXTS[1]), (TEXTS[1], TEXTS[2])])]
    embed = npbert.Embedder(cases.model("base"), tokenizer)
    np.testing.assert_array_equal(embed({"text": TEXTS[:2]})["embedding"], embed(TEXTS[:2]))
    assert embed({"text": []})["embedding"].shape == (0, 32)
    assert len(npbert.pipeline("fill-mask", cases.model("masked"), tokenizer)({"text": ["A [MASK]."]})["answer"]) == 1
    with pytest.raises(npbert.InputError, match="a table with the column 'text', got sentence"):
        classify({"sentence": TEXTS})
    with pytest.raises(npbert.InputError, match="columns of one length"):
        classify({"text": TEXTS[:2], "text_pair": TEXTS[:1]})
    with pytest.raises(npbert.InputTypeError, match=r"inputs\[1\]: takes a text"):
        classify({"text": ["a", 5]})


def test_a_column_of_arrow() -> None:
    class Column:
        """What `pyarrow.Array` is to a task."""

        def __len__(self) -> int:
            return 2

        def to_pylist(self) -> list[str]:
            return TEXTS[:2]

    embed = npbert.Embedder(cases.model("base"), cases.tokenizer())
    np.testing.assert_array_equal(embed(Column()), embed(TEXTS[:2]))
    np.testing.assert_array_equal(embed({"text": Column()})["embedding"], embed(TEXTS[:2]))
