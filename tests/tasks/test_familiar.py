"""Pipelines as the reference's own tests and articles call them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert.tasks import TASKS

from . import cases
from .cases import TEXTS, assert_same

CLASSES = {
    "FillMaskPipeline": "masked",
    "FeatureExtractionPipeline": "base",
    "TextClassificationPipeline": "four",
    "ZeroShotClassificationPipeline": "four",
    "TokenClassificationPipeline": "names",
    "NerPipeline": "names",
    "QuestionAnsweringPipeline": "span",
    "TextGenerationPipeline": "writer",
}
OF_MODELS = {
    "base": "feature-extraction",
    "masked": "fill-mask",
    "four": "text-classification",
    "span": "question-answering",
    "names": "token-classification",
    "next": "next-sentence",
    "writer": "text-generation",
}
LABELS = {0: "contradiction", 1: "neutral", 2: "entailment"}


def made(task: str, model: str, **options: Any) -> Any:
    return npbert.pipeline(task, model=cases.model(model), tokenizer=cases.tokenizer(), **options)


@pytest.mark.parametrize("name", CLASSES)
def test_the_classes_of_pipelines(name: str) -> None:
    cls = getattr(npbert, name)
    model = cases.model(CLASSES[name])
    task = cls(model=model, tokenizer=cases.tokenizer())
    assert isinstance(npbert.pipeline(task.task, model=model, tokenizer=cases.tokenizer()), cls)
    if "Generation" not in name and "Question" not in name and "ZeroShot" not in name:
        text = "A [MASK]."
        assert task(text) == npbert.pipeline(task.task, model=model, tokenizer=cases.tokenizer())(text)


def test_all_scores() -> None:
    model = cases.model("four")
    every = made("text-classification", "four", return_all_scores=True)(TEXTS[0])
    assert [one["label"] for one in every[0]] == list(model.config.id2label.values())
    ranked = made("text-classification", "four", top_k=None)(TEXTS[0])
    assert sorted(every[0], key=lambda one: -one["score"]) == ranked[0]
    assert made("text-classification", "four", return_all_scores=False)(TEXTS[0]) == made("text-classification", "four")(
        TEXTS[0]
    )
    assert made("text-classification", "four")(TEXTS[:2], return_all_scores=True)[0] == every[0]
    assert made("text-classification", "four")(TEXTS[0], return_all_scores=True, top_k=1) == ranked[0][:1]


def test_a_pair_in_nested_lists() -> None:
    classify = made("text-classification", "four")
    assert classify([[["one text", "another"]]]) == classify([{"text": "one text", "text_pair": "another"}])
    with pytest.raises(npbert.InputTypeError, match=r"inputs\[0\]: takes a text"):
        classify([["one text", "another"]])


def test_entities_by_their_older_names() -> None:
    ask = made("ner", "names")
    for strategy in npbert.AggregationStrategy:
        assert ask(TEXTS[0], aggregation_strategy=strategy) == ask(TEXTS[0], aggregation_strategy=strategy.value)
    assert ask(TEXTS[0], grouped_entities=True) == ask(TEXTS[0], aggregation_strategy="simple")
    assert ask(TEXTS[0], grouped_entities=True, ignore_subwords=True) == ask(TEXTS[0], aggregation_strategy="first")
    assert ask(TEXTS[0], grouped_entities=False) == ask(TEXTS[0])


def test_questions_however_they_are_asked() -> None:
    ask = made("question-answering", "span")
    question, context = "Who?", "Ada lived in Turin."
    one = {"question": question, "context": context}
    wanted = ask(question=question, context=context)
    assert ask(question, context) == ask(one) == ask(X=one) == ask(data=one) == ask([one]) == wanted
    for several in (ask(one, one), ask(data=[one, one]), ask(question=[question, question], context=context)):
        assert_same(several, [wanted, wanted])


@pytest.mark.parametrize(
    "labels", ["politics", ["politics"], "politics, public health", ["politics", "public health", "science"]]
)
def test_labels_without_training_for_them(labels: Any) -> None:
    ask = npbert.pipeline("zero-shot-classification", model=entailment(), tokenizer=cases.tokenizer())
    out = ask("Who are you voting for?", candidate_labels=labels)
    assert out["sequence"] == "Who are you voting for?"
    assert sorted(out["labels"]) == sorted(label.strip() for label in labels.split(",")) if isinstance(labels, str) else True
    assert out["scores"] == sorted(out["scores"], reverse=True)
    if len(out["labels"]) > 1:
        assert sum(out["scores"]) == pytest.approx(1)
    assert ask("Who are you voting for?", labels) == out
    alone = ask("Who are you voting for?", labels, multi_label=True)
    classify = npbert.pipeline("text-classification", model=entailment(), tokenizer=cases.tokenizer(), function_to_apply="none")
    for label, score in zip(alone["labels"], alone["scores"], strict=True):
        pair = {"text": "Who are you voting for?", "text_pair": f"This example is {label}."}
        logits = {one["label"]: one["score"] for one in classify(pair, top_k=None)}
        odds = np.exp(logits["entailment"] - logits["contradiction"])
        assert score == pytest.approx(odds / (1 + odds), rel=1e-4)


def entailment() -> Any:
    model = cases.model("four")
    weights = {name: x[:3] if name.startswith("classifier") else x for name, x in model.named_parameters()}
    config = npbert.BertConfig.from_dict(
        {**model.config.to_dict(), "id2label": LABELS, "label2id": {name: number for number, name in LABELS.items()}}
    )
    return npbert.BertForSequenceClassification(config, weights)


def test_what_zero_shot_classification_refuses() -> None:
    ask = npbert.pipeline("zero-shot-classification", model=entailment(), tokenizer=cases.tokenizer())
    assert len(ask(["I am happy"], ["positive", "negative"])) == 1
    assert len(ask(["I am happy", "I am sad"], ["positive", "negative"])) == 2
    assert ask("Who? " * 200, ["politics"])["labels"] == ["politics"]  # too long: cut
    for options, message in (
        ({"candidate_labels": ""}, "one label or more"),
        ({"candidate_labels": None}, "candidate_labels: takes a list"),
        ({"candidate_labels": "a", "hypothesis_template": "Not a template"}, "takes a sentence with {} for the label"),
        ({"candidate_labels": "a", "hypothesis_template": None}, "hypothesis_template: takes a text"),
    ):
        with pytest.raises(npbert.NpbertError, match=message):
            ask("Who are you voting for?", **options)
    for inputs in ("", None):
        with pytest.raises(npbert.NpbertError, match="inputs: takes"):
            ask(inputs, candidate_labels="a")
    with pytest.warns(UserWarning, match="no label of the model begins with 'entail'"):
        made("zero-shot-classification", "four")("Who?", ["a", "b"])


def test_a_model_says_what_it_is_for(tmp_path: Path) -> None:
    for name, task in OF_MODELS.items():
        cases.model(name).save_pretrained(tmp_path / name)
        cases.tokenizer().save_pretrained(tmp_path / name)
        assert npbert.pipeline(model=cases.model(name), tokenizer=cases.tokenizer()).task == task
        assert npbert.pipeline(model=str(tmp_path / name)).task == task
    with pytest.raises(npbert.InputTypeError, match="pipeline: takes a task, or a model"):
        npbert.pipeline()
    choice = npbert.BertForMultipleChoice(cases.model("base").config, rng=np.random.default_rng(0))
    with pytest.raises(npbert.InputError, match="task: there is none for a BertForMultipleChoice"):
        npbert.pipeline(model=choice, tokenizer=cases.tokenizer())


def test_models_that_npbert_has_are_the_default() -> None:
    assert TASKS["fill-mask"].default == "npbert-small"
    task = npbert.pipeline("sentence-similarity")
    assert task.model.name_or_path == "all-MiniLM-L6-v2"
    scores = task({"source_sentence": "a cat", "sentences": ["a kitten", "the stock market"]})
    assert scores[0] > scores[1]
    with pytest.raises(npbert.InputError, match="model: question-answering needs a BertForQuestionAnswering"):
        npbert.pipeline("question-answering")


@pytest.mark.parametrize("device", [-1, "cpu", None, "cpu:0"])
def test_the_processor_by_its_names(device: Any) -> None:
    assert made("fill-mask", "masked", device=device)("A [MASK].")


def test_options_of_loading(tmp_path: Path) -> None:
    for device in (0, "cuda", "mps"):
        with pytest.raises(npbert.InputError, match="device: npbert computes on the processor"):
            made("fill-mask", "masked", device=device)
    cases.model("masked").save_pretrained(tmp_path)
    cases.tokenizer().save_pretrained(tmp_path)
    assert npbert.pipeline("fill-mask", str(tmp_path), torch_dtype="float64").model.dtype == np.float64


def test_what_a_continued_text_holds() -> None:
    write = made("text-generation", "writer", do_sample=False, max_new_tokens=6)
    prompt = "This is a test"
    whole = write(prompt)[0]["generated_text"]
    assert write(prompt, return_text=True) == write(prompt, return_full_text=True) == write(prompt, batch_size=2)
    assert prompt + write(prompt, return_full_text=False)[0]["generated_text"] == whole
    assert len(write(prompt, return_tensors=True)[0]["generated_token_ids"]) == 4 + 2 + 6  # [CLS] and [SEP] too
    for options in ({"return_text": True, "return_full_text": True}, {"return_text": True, "return_tensors": False}):
        with pytest.raises(npbert.InputError, match="an answer holds one thing; takes only one of return_"):
            write(prompt, **options)


def test_a_text_that_stops_at_a_word() -> None:
    write = made("text-generation", "writer", do_sample=False, max_new_tokens=6, return_tensors=True)
    (answer,) = write("This is a test")
    third = answer["generated_token_ids"][6 + 2]
    (stopped,) = write("This is a test", stop_sequence=cases.tokenizer().convert_ids_to_tokens(third))
    assert stopped["generated_token_ids"] == answer["generated_token_ids"][: answer["generated_token_ids"].index(third, 6) + 1]
    with pytest.raises(npbert.InputError, match="stop_sequence: takes a text with a token"):
        write("This is a test", stop_sequence=" ")


def test_a_prompt_that_leaves_no_room() -> None:
    write = made("text-generation", "writer", do_sample=False, return_tensors=True, handle_long_generation="hole")
    long = "This is a test. " * 100
    ids = cases.tokenizer()(long, verbose=False)["input_ids"]
    assert write(long, max_new_tokens=20)[0]["generated_token_ids"][:108] == ids[-108:]
    assert len(write("This is", max_new_tokens=2)[0]["generated_token_ids"]) == 4 + 2
    with pytest.raises(npbert.InputError, match="handle_long_generation: 138 new tokens leave no room"):
        write(long, max_new_tokens=138)
    with pytest.raises(npbert.InputError, match="handle_long_generation: takes None or 'hole'"):
        write(long, handle_long_generation="cut")


class Numbered:
    """What PyTorch calls a data set: entries by their number, and how many there are."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> str:
        return f"text {number}"


def test_entries_by_their_number() -> None:
    classify = made("text-classification", "four")
    answers = classify(Numbered())
    assert not isinstance(answers, list)
    assert_same(list(answers), classify(["text 0", "text 1", "text 2"]))


def test_what_a_pipeline_has(tmp_path: Path) -> None:
    class Mine(npbert.TextClassificationPipeline):
        pass

    classify = made("text-classification", "four", pipeline_class=Mine, framework="pt", num_workers=2, use_fast=True)
    assert isinstance(classify, Mine)
    assert classify.predict(["a text"]) == classify.transform(["a text"]) == classify(["a text"], num_workers=0)
    assert (classify.device, classify.dtype, classify.torch_dtype) == ("cpu", np.float32, np.float32)
    classify.save_pretrained(tmp_path)
    assert npbert.pipeline("text-classification", model=tmp_path)(["a text"]) == classify(["a text"])
    with pytest.raises(npbert.InputError, match="framework: takes 'pt', 'np' or None, got 'tf'"):
        made("fill-mask", "masked", framework="tf")
    with pytest.raises(npbert.InputTypeError, match="pipeline_class: takes a class of npbert's pipelines"):
        made("fill-mask", "masked", pipeline_class=dict)


def test_labels_by_an_older_name() -> None:
    ask = npbert.pipeline("zero-shot-classification", model=entailment(), tokenizer=cases.tokenizer())
    assert ask("Who?", ["a", "b"], multi_class=True) == ask("Who?", ["a", "b"], multi_label=True)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("multi_label", [False, True])
def test_parity_of_zero_shot_classification(multi_label: bool) -> None:
    transformers = pytest.importorskip("transformers")
    from .. import reference
    from . import live

    ours = entailment()
    theirs = reference.build("BertForSequenceClassification", ours.config.to_dict(), ours.state_dict())
    ask = transformers.pipeline("zero-shot-classification", model=theirs, tokenizer=live.tokenizer(), device="cpu")
    options: dict[str, Any] = {"candidate_labels": ["politics", "music", "a river"], "multi_label": multi_label}
    texts = [text for text in TEXTS if text.strip()][:3]
    found = npbert.pipeline("zero-shot-classification", model=ours, tokenizer=cases.tokenizer())(texts, **options)
    for one, wanted in zip(found, ask(texts, **options), strict=True):
        assert (one["sequence"], one["labels"]) == (wanted["sequence"], wanted["labels"])
        np.testing.assert_allclose(one["scores"], wanted["scores"], rtol=1e-4)


def test_a_question_without_a_context_is_a_missing_key() -> None:
    for inputs in ({"question": "a"}, [{"context": "a"}]):
        with pytest.raises(KeyError, match=r'takes \{"question"') as caught:
            made("question-answering", "span")(inputs)
        assert isinstance(caught.value, npbert.MissingNameError)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_parity_of_a_prefix() -> None:
    from . import live

    theirs, ours = live.pipeline("text-generation", "writer"), made("text-generation", "writer")
    options = {"do_sample": False, "prefix": "The river. ", "max_new_tokens": 5}
    assert ours("A stone", **options) == theirs("A stone", **options)
    options |= {"return_full_text": False, "num_beams": 2}
    assert ours("A stone", **options) == theirs("A stone", **options)


def test_lengths_do_not_count_a_prefix() -> None:
    write = made("text-generation", "writer", do_sample=False, return_tensors=True, max_length=14)
    prefix = "The river. "
    without = write("A stone")[0]["generated_token_ids"]
    number = len(cases.tokenizer()(prefix)["input_ids"])
    assert len(without) <= 14
    assert len(write("A stone", prefix=prefix)[0]["generated_token_ids"]) == 14 + number
    assert len(write("A stone", prefix=prefix, min_length=14)[0]["generated_token_ids"]) == 14 + number


def test_a_prefix_may_stand_in_the_configuration() -> None:
    model = cases.model("writer")
    config = npbert.BertConfig(**{**model.config.to_dict(), "prefix": "The river. "})
    write = npbert.TextGenerationPipeline(npbert.BertLMHeadModel(config, dict(model.named_parameters())), cases.tokenizer())
    options = {"do_sample": False, "max_new_tokens": 5}
    wanted = made("text-generation", "writer", prefix="The river. ")("A stone", **options)
    assert write("A stone", **options) == wanted
    assert write("A stone", prefix="", **options) == made("text-generation", "writer")("A stone", **options) != wanted
    with pytest.raises(npbert.InputTypeError, match="prefix: takes a text, got 5"):
        write("A stone", prefix=5)


def test_a_conversation_is_refused() -> None:
    talk = [{"role": "user", "content": "Hello"}]
    for inputs in (talk, [talk]):
        with pytest.raises(
            npbert.InputTypeError, match=r"inputs\[0\]: takes a text, got a (dict|list); there are no chat templates"
        ):
            made("text-generation", "writer")(inputs)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("strategy", ["none", "simple", "max"])
def test_parity_of_characters_that_are_given(strategy: str) -> None:
    from . import live

    text = "A stone in the river"
    offsets = [
        (start // 2, end // 2 + 1) for start, end in cases.tokenizer()(text, return_offsets_mapping=True)["offset_mapping"]
    ]
    options: dict[str, Any] = {"aggregation_strategy": strategy, "ignore_labels": []}
    ours, theirs = made("ner", "names", **options), live.pipeline("ner", "names", **options)
    assert_same(ours(text, offset_mapping=offsets), theirs(text, offset_mapping=offsets))
    assert ours(text, offset_mapping=offsets) != ours(text)


def test_characters_that_cannot_be_given() -> None:
    ask = made("ner", "names")
    for inputs, options in ((["a", "b"], {}), ("a", {"stride": 2, "aggregation_strategy": "simple"})):
        with pytest.raises(npbert.InputError, match="offset_mapping: takes one text alone"):
            ask(inputs, offset_mapping=[(0, 1)], **options)
    for wrong in ([(0, 1)], [(0, 0), (0, -1), (0, 0)]):
        with pytest.raises(npbert.InputError, match=r"offset_mapping: takes \(start, end\) for each of the 3 tokens"):
            ask("a", offset_mapping=wrong)


def test_what_a_pipeline_computes_with() -> None:
    task = made("fill-mask", "masked")
    assert (task.framework, task.device) == ("np", "cpu")
