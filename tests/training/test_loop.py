"""The loop: what it yields, what it repeats, what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import npbert
from npbert.training import Lessons, Settings, clip_gradients, steps
from npbert.training.loop import mean_gradients, steps_of_epochs

from .small import small_run, words_lessons


def weights_of(run: Any) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in run.model.named_parameters()}


def test_the_loop_learns_and_says_what_it_does() -> None:
    run = small_run(schedule="linear", warmup=3, steps=10)
    figures = list(steps(run))
    assert [one["step"] for one in figures] == list(range(1, 11))
    assert [one["lr"] for one in figures[:4]] == pytest.approx([0, 1e-2 / 3, 2e-2 / 3, 1e-2])
    assert figures[-1]["lr"] == pytest.approx(1e-2 / 7)
    assert {one["tokens"] for one in figures} == {24}
    assert set(figures[0]) == {"step", "loss", "norm", "lr", "tokens"}
    assert all(one["norm"] > 0 for one in figures)


def test_padding_counts_as_no_token() -> None:
    lessons = words_lessons()

    def padded(batch: Any, rng: Any) -> Any:
        mask = batch["attention_mask"].copy()
        mask[:, 6:] = 0
        return {**batch, "attention_mask": mask}

    run = small_run(lessons._replace(arguments=padded), accumulate=2, steps=1)
    assert next(steps(run))["tokens"] == 36


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    ends = []
    for seed in (3, 3, 4):
        run = small_run(seed=seed, steps=4)
        losses = [one["loss"] for one in steps(run)]
        ends.append((losses, weights_of(run)))
    assert ends[0][0] == ends[1][0]
    assert all(np.array_equal(ends[0][1][name], ends[1][1][name]) for name in ends[0][1])
    assert ends[0][0] != ends[2][0]


def test_epochs_follow_one_another_in_another_order() -> None:
    seen: list[Any] = []
    made: list[Any] = []

    def epoch(rng: np.random.Generator) -> list[int]:
        made.append(rng.permutation(5).tolist())
        return made[-1]

    source = words_lessons()

    def arguments(number: Any, rng: np.random.Generator) -> Any:
        seen.append(number)
        return source.epoch(np.random.default_rng(number))[0]

    run = small_run(Lessons(epoch, arguments), steps=12)
    list(steps(run))
    assert seen == [*made[0], *made[1], *made[2][:2]]
    assert made[0] != made[1]
    assert (run.progress.epoch, run.progress.place) == (2, 2)


def test_dropout_happens() -> None:
    run, still = small_run(steps=1), small_run(steps=1)
    still.model.config.hidden_dropout_prob = still.model.config.attention_probs_dropout_prob = 0.0
    assert next(steps(run))["loss"] != next(steps(still))["loss"]


def test_dropout_is_another_at_every_step_of_every_epoch() -> None:
    (batch, *_) = words_lessons().epoch(np.random.default_rng(0))
    run = small_run(Lessons(lambda rng: [batch], lambda batch, rng: batch), steps=4, lr=0.0)
    assert len({one["loss"] for one in steps(run)}) == 4


def test_accumulated_batches_are_as_one_large_batch() -> None:
    """Where each has as many labels: the gradients of the mean."""
    run = small_run()
    run.model.config.hidden_dropout_prob = run.model.config.attention_probs_dropout_prob = 0.0
    model = run.model.astype(np.float64)
    ids = np.random.default_rng(0).integers(5, 20, (6, 8))
    whole = {"input_ids": ids, "labels": ids}
    loss, grads = mean_gradients(model, [{name: x[k : k + 2] for name, x in whole.items()} for k in (0, 2, 4)], None)  # type: ignore[arg-type]
    out, expected = model.gradients(**whole)
    assert loss == pytest.approx(float(out.loss), rel=1e-12)
    for name, gradient in expected.items():
        np.testing.assert_allclose(grads[name], gradient, rtol=1e-9, atol=1e-12)


def test_the_epochs_of_a_run_are_counted_exactly() -> None:
    """Epochs of other lengths at every time, as sentence pairs make them."""
    source = words_lessons()
    lengths: list[int] = []

    def epoch(rng: np.random.Generator) -> Any:
        lengths.append(int(rng.integers(2, 9)))
        return source.epoch(rng)[:1] * lengths[-1]

    lessons = source._replace(epoch=epoch, evaluate=None)
    for accumulate in (1, 3):
        lengths.clear()
        count = steps_of_epochs(lessons, 3, accumulate=accumulate, seed=5)
        assert count == -(-sum(lengths) // accumulate)
        counted = lengths[:3]
        lengths.clear()
        run = small_run(lessons, steps=count, accumulate=accumulate, seed=5)
        list(steps(run))
        assert lengths[:3] == counted
        assert (run.progress.epoch, run.progress.place) in ((2, counted[2]), (3, accumulate * count - sum(counted)))
    with pytest.raises(npbert.InputError, match="epochs"):
        steps_of_epochs(lessons, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_a_loss_that_is_not_a_number_names_the_step_and_leaves_the_weights(value: float) -> None:
    run = small_run(steps=9)
    loop = steps(run)
    for _ in range(3):
        next(loop)
    name = "cls.predictions.transform.dense.weight"
    run.model.weights[name][0, 0] = value
    run.model.weights["cls.predictions.transform.LayerNorm.weight"][:] = value
    before = weights_of(run)
    means = {name: array.copy() for name, array in run.optimizer.means.items()}
    with pytest.raises(npbert.InputError, match=r"^step 4: the loss is .*smaller lr"):
        next(loop)
    assert all(np.array_equal(array, before[name], equal_nan=True) for name, array in weights_of(run).items())
    assert all(np.array_equal(array, means[name]) for name, array in run.optimizer.means.items())
    assert run.progress.step == run.optimizer.steps == 3


def test_no_data_is_an_error() -> None:
    with pytest.raises(npbert.InputError, match="nothing to learn from"):
        next(steps(small_run(Lessons(lambda rng: [], lambda batch, rng: batch))))


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"warmup": -1}, {"accumulate": 0}, {"seed": -1}, {"schedule": "round"}, {"max_norm": 0}, {"lr": -1}]
)
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(npbert.NpbertError, match=next(iter(wrong))):
        small_run(**{"steps": 1, **wrong})


def test_clipping_is_part_of_a_step() -> None:
    moved = {}
    for max_norm in (1e-3, 1e3):
        run = small_run(steps=1, max_norm=max_norm)
        norm = next(steps(run))["norm"]
        mean = {name: array / 0.1 for name, array in run.optimizer.means.items()}
        moved[max_norm] = clip_gradients(mean, 1e9)
        assert norm > 1e-2
    assert moved[1e-3] == pytest.approx(1e-3, rel=1e-3)
    assert moved[1e3] == pytest.approx(norm, rel=1e-3)


def test_settings_are_what_a_run_is_compared_by() -> None:
    assert Settings(5) == Settings(5)
    assert Settings(5) != Settings(5, seed=1)
