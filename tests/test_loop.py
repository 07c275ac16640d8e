"""The loop: a split batch is the whole batch, the best weights are kept, and nothing goes wrong silently."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from peftkit.contracts import Step, Watcher
from peftkit.data import encode, load_splits
from peftkit.errors import PeftkitError, UserError
from peftkit.methods import METHODS
from peftkit.model import load_base, load_config, load_processor
from peftkit.model.preparing import prepare
from peftkit.tasks import TASKS
from peftkit.training import Loop, make_accelerator, optimization, plan_steps
from peftkit.training.checkpoint import load_checkpoint, save_checkpoint


class Steps(Watcher):
    """Keeps every step."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def stepped(self, step: Step) -> None:
        self.steps.append(step)


def train(recipe: Any, folder: Path, scores: Any = None) -> tuple[Loop, Any, list[Step]]:
    """Runs the loop of a recipe; `scores` are the validation scores of one evaluation after the other."""
    task, method = TASKS[recipe.task.name](recipe.task), METHODS[recipe.method.name](recipe.method)
    accelerator = make_accelerator(recipe, folder)
    splits = load_splits(recipe.data, task)
    task.learn(splits["train"])
    task.equip(load_processor(recipe.model, task), load_config(recipe.model))
    rows = encode(splits["train"], task, 32)
    steps = plan_steps(recipe.training, len(rows), 1)
    base = load_base(recipe, task, accelerator.device)
    model = prepare(method.attach(base, steps), recipe.training)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # runs are compared step by step
    given = iter(scores or [])
    watcher = Steps()
    loop = Loop(
        accelerator=accelerator,
        model=model,
        task=task,
        rows=rows,
        training=recipe.training,
        learning_rate=recipe.training.learning_rate or method.learning_rate,
        optimization=optimization(recipe.training, method.factors(model)),
        seed=recipe.seed,
        total_steps=steps,
        hooks=method.hooks(model),
        watchers=[watcher],
        evaluate=lambda: {"accuracy": next(given), "loss": 1.0} if scores else {"accuracy": 0.5, "loss": 1.0},
        checkpoints=folder / "checkpoints",
    )
    loop.run()
    return loop, model, watcher.steps


def trained(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("method", ["lora", "adalora", "full"])
@pytest.mark.parametrize("size, accumulation", [(16, 2), (8, 4), (5, 7)])
def test_a_split_batch_gives_the_gradient_of_the_whole(
    method: str, size: int, accumulation: int, recipe_of: Any, tmp_path: Path
) -> None:
    """32 rows a step in one pass, in 2, in 4; and 35 rows in uneven passes (96 rows: the last step has fewer)."""
    whole = {"training.batch_size": size * accumulation, "training.learning_rate": 1e-3, "training.eval_strategy": "no"}
    split = whole | {"training.batch_size": size, "training.gradient_accumulation_steps": accumulation}
    _, one, first = train(recipe_of(method, **whole, **{"training.epochs": 4}), tmp_path / "one")
    _, two, second = train(recipe_of(method, **split, **{"training.epochs": 4}), tmp_path / "two")
    assert [step.loss for step in second] == pytest.approx([step.loss for step in first], rel=1e-5)
    for name, value in trained(one).items():
        # a bias without gradient (that of the keys) moves by Adam's rounding alone, up to the learning rate
        torch.testing.assert_close(trained(two)[name], value, atol=1e-3, rtol=1e-3)


def test_steps_cover_the_epochs(recipe_of: Any, tmp_path: Path) -> None:
    recipe = recipe_of(**{"training.batch_size": 10, "training.epochs": 2.5, "training.eval_strategy": "no"})
    _, _, steps = train(recipe, tmp_path)
    assert len(steps) == 25  # ceil(96 / 10) = 10 steps an epoch
    assert sum(step.samples for step in steps[:10]) == 96
    assert all(step.padded_tokens >= step.tokens > 0 for step in steps)
    assert all(step.seconds > 0 and math.isfinite(step.loss) for step in steps)


def test_the_same_seed_gives_the_same_run_and_another_does_not(recipe_of: Any, tmp_path: Path) -> None:
    losses = [
        [step.loss for step in train(recipe_of(seed=seed), tmp_path / str(i))[2]] for i, seed in enumerate((1, 1, 2))
    ]
    assert losses[0] == losses[1] != losses[2]


def test_the_learning_rate_warms_up_and_falls(recipe_of: Any, tmp_path: Path) -> None:
    recipe = recipe_of(
        **{"training.warmup_ratio": 0.25, "training.learning_rate": 1e-2, "training.eval_strategy": "no"}
    )
    rates = [step.learning_rate for step in train(recipe, tmp_path)[2]]
    top = rates.index(max(rates))
    assert top == len(rates) // 4
    assert max(rates) == pytest.approx(1e-2)
    assert rates[:top] == sorted(rates[:top]) and rates[top:] == sorted(rates[top:], reverse=True)


def test_the_best_weights_are_kept(recipe_of: Any, tmp_path: Path) -> None:
    settings = {"training.epochs": 3, "training.load_best_model_at_end": True}
    loop, best, _ = train(recipe_of(**settings), tmp_path / "best", scores=[0.2, 0.9, 0.4])
    assert (loop.best.step, loop.best.score) == (24, 0.9)
    _, last, _ = train(recipe_of(**settings), tmp_path / "last", scores=[0.2, 0.3, 0.4])
    assert any(not torch.equal(value, trained(last)[name]) for name, value in trained(best).items())
    _, plain, _ = train(
        recipe_of(**settings | {"training.load_best_model_at_end": False}), tmp_path / "plain", scores=[0.2, 0.9, 0.4]
    )
    assert all(torch.equal(value, trained(last)[name]) for name, value in trained(plain).items())


def test_a_metric_that_is_better_lower_is_chosen_lower(recipe_of: Any, tmp_path: Path) -> None:
    recipe = recipe_of(**{"training.metric_for_best_model": "loss", "training.epochs": 2})
    loop, _, _ = train(recipe, tmp_path, scores=[0.1, 0.9])  # loss is 1.0 each time: the first stays the best
    assert loop.best.step == 12


def test_patience_ends_training_early(recipe_of: Any, tmp_path: Path) -> None:
    recipe = recipe_of(**{"training.epochs": 6, "training.early_stopping_patience": 2})
    _, _, steps = train(recipe, tmp_path, scores=[0.5, 0.4, 0.3, 0.9, 0.9, 0.9])
    assert len(steps) == 3 * 12


def test_adalora_keeps_no_weights_from_before_its_final_ranks(recipe_of: Any, tmp_path: Path) -> None:
    recipe = recipe_of({"name": "adalora", "init_r": 6, "target_r": 2}, **{"training.epochs": 4})
    loop, model, _ = train(recipe, tmp_path, scores=[0.9, 0.8, 0.1, 0.2])
    assert loop.best.step == 48
    ranks = METHODS["adalora"](recipe.method).outcome(model)["final_ranks"]
    assert sum(ranks.values()) == 4 * 2


def test_a_loss_that_is_not_a_number_stops_training(recipe_of: Any, tmp_path: Path) -> None:
    recipe = recipe_of("full", **{"training.learning_rate": 1e30, "training.max_grad_norm": 0})
    with pytest.raises(PeftkitError, match=r"the loss is (nan|inf) at step \d+ \(learning rate"):
        train(recipe, tmp_path)


@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp16", marks=pytest.mark.gpu)])
def test_half_precision_trains_with_trainables_in_float32(precision: str, recipe_of: Any, tmp_path: Path) -> None:
    _, model, steps = train(recipe_of(**{"training.mixed_precision": precision, "training.epochs": 4}), tmp_path)
    assert steps[-1].loss < steps[0].loss - 0.1
    assert {p.dtype for p in trained(model).values()} == {torch.float32}


@pytest.mark.skipif(torch.accelerator.is_available(), reason="for machines without a GPU")
@pytest.mark.parametrize(
    "setting, value, told",
    [("model.dtype", "float16", "use bfloat16"), ("training.mixed_precision", "fp16", "use bf16")],
)
def test_float16_on_cpu_is_refused_naming_what_works(
    setting: str, value: str, told: str, recipe_of: Any, tmp_path: Path
) -> None:
    """accelerate would run it without any autocast, and say nothing."""
    with pytest.raises(UserError, match=f"needs a GPU, and this run is on CPU: .* {told}$") as error:
        make_accelerator(recipe_of(**{setting: value}), tmp_path)
    assert ".".join(map(str, error.value.key)) == setting


def test_gradient_checkpointing_changes_no_loss(recipe_of: Any, tmp_path: Path) -> None:
    one, two = (
        [step.loss for step in train(recipe_of(**{"training.gradient_checkpointing": on}), tmp_path / str(on))[2]]
        for on in (False, True)
    )
    assert two == pytest.approx(one, rel=1e-5)


class TestCheckpoint:
    """Whole or not there."""

    def model(self) -> torch.nn.Module:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
        model[0].requires_grad_(False)
        return model

    def test_only_what_is_trained_is_kept_and_comes_back(self, tmp_path: Path) -> None:
        model = self.model()
        kept = trained(model)
        checkpoint = save_checkpoint(model, [], tmp_path, "step-1", {"step": 1})
        with torch.no_grad():
            model[1].weight.zero_()
        assert load_checkpoint(model, [], checkpoint)["step"] == 1
        assert all(torch.equal(trained(model)[name], value) for name, value in kept.items())

    def test_older_checkpoints_go_when_the_new_one_stands(self, tmp_path: Path) -> None:
        for name in ("step-1", "step-2"):
            save_checkpoint(self.model(), [], tmp_path, name, {})
        assert [path.name for path in tmp_path.iterdir()] == ["step-2"]

    def test_a_full_disk_leaves_the_previous_checkpoint(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        model = self.model()
        first = save_checkpoint(model, [], tmp_path, "step-1", {"step": 1})

        def full(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("safetensors.torch.save_file", full)
        with pytest.raises(UserError, match=r"step-2: checkpoint not written .No space left on device."):
            save_checkpoint(model, [], tmp_path, "step-2", {})
        assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
        assert load_checkpoint(model, [], first)["step"] == 1
