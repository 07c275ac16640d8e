"""A run that is not what its recipe says ends with a record that says why; one that is passes, and costs little."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import peftkit
from peftkit.adapters.targets import collapsed
from peftkit.contracts import Base, Step, Watcher
from peftkit.errors import PeftkitError, UserError
from peftkit.methods import METHODS
from peftkit.record import Record
from peftkit.training.checksums import checksums, kept_tensors
from peftkit.training.guard import Guard, check_placement, check_precision

SHORT = {"training.max_steps": 4, "training.eval_strategy": "no"}


def ends(recipe: Any, folder: Path, *watchers: Watcher) -> str:
    """What the record of a run says that fails."""
    with pytest.raises(PeftkitError):
        peftkit.run(recipe, folder, watchers=watchers)
    record = Record.load(folder)
    assert record.status == "failed"
    return str(record.error)


class TestChecksums:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8, torch.uint8, torch.bool, torch.int64])
    @pytest.mark.parametrize("size", [1, 7, 4099])
    def test_one_bit_changes_it_whatever_kind_and_size(self, dtype: torch.dtype, size: int) -> None:
        tensor = torch.zeros(size, dtype=dtype)
        before = checksums({"a": tensor})
        assert torch.equal(checksums({"a": tensor.clone()}), before)
        for place in {0, size // 2, size - 1}:
            other = tensor.clone()
            other.view(torch.uint8)[place * dtype.itemsize] = 1
            assert not torch.equal(checksums({"a": other}), before), place

    def test_steps_that_cancel_in_a_sum_do_not(self) -> None:
        tensor = torch.ones(8)
        step = torch.tensor([2.0, -1.0] * 4) * 2**-10  # of equal size in the bits of numbers above and below 1
        assert tensor.view(torch.int32).sum() == (tensor + step).view(torch.int32).sum()
        assert not torch.equal(checksums({"a": tensor}), checksums({"a": tensor + step}))

    def test_neither_layout_nor_place_in_memory_counts(self) -> None:
        matrix = torch.randn(600, 8)
        assert torch.equal(checksums({"a": matrix}), checksums({"a": matrix.t().contiguous().t()}))
        assert torch.equal(checksums({"a": matrix.flatten()[1:]}), checksums({"a": matrix.flatten()[1:].clone()}))

    def test_packed_weights_their_scales_and_buffers_count(self, recipe_of: Any) -> None:
        from tests.test_methods import build

        model = build(recipe_of("lora", quantization="4bit"))[2].model
        names = set(kept_tensors(model))
        assert "bert.encoder.layer.0.attention.self.query.weight.absmax" in names
        before = checksums(kept_tensors(model))
        query = model.get_submodule("bert.encoder.layer.0.attention.self.query").weight
        query.data[0] += 1
        changed = (checksums(kept_tensors(model)) != before).tolist()
        assert [name for name, other in zip(kept_tensors(model), changed, strict=True) if other] == [
            "bert.encoder.layer.0.attention.self.query.weight"
        ]

    def test_caches_that_no_checkpoint_holds_do_not_count(self) -> None:
        layer = nn.Linear(2, 2)
        layer.register_buffer("kept", torch.zeros(1))
        layer.register_buffer("cache", torch.zeros(1), persistent=False)
        assert set(kept_tensors(nn.Sequential(layer))) == {"0.weight", "0.bias", "0.kept"}


class TestMoving:
    class Meddler(Watcher):
        """Changes something at a step."""

        def __init__(self, name: str, step: int = 2, amount: float = 1e-6) -> None:
            self.name, self.step, self.amount = name, step, amount

        def model_ready(self, model: nn.Module) -> None:
            tensors = dict(model.named_parameters()) | dict(model.named_buffers())
            self.tensor = next(tensor for name, tensor in tensors.items() if self.name in name)

        def stepped(self, step: Step) -> None:
            if step.number == self.step:
                self.tensor.data.view(-1)[0] += self.amount

    def test_a_frozen_weight_that_changes_ends_the_run(self, recipe_of: Any, tmp_path: Path) -> None:
        told = ends(recipe_of("lora", **SHORT), tmp_path / "run", self.Meddler("embeddings.word"))
        assert "embeddings.word_embeddings.weight: frozen, and yet changed in the first 3 optimizer steps" in told

    def test_it_is_seen_in_a_run_of_one_step_too(self, recipe_of: Any, tmp_path: Path) -> None:
        recipe = recipe_of("lora", **SHORT | {"training.max_steps": 1, "training.warmup_ratio": 0.0})
        told = ends(recipe, tmp_path / "run", self.Meddler("embeddings.word", step=1))
        assert "changed in the first 1 optimizer steps" in told

    def test_a_packed_weight_that_changes_ends_the_run(self, recipe_of: Any, tmp_path: Path) -> None:
        meddler = self.Meddler("0.intermediate.dense.weight", amount=1)
        assert "frozen, and yet changed" in ends(
            recipe_of("lora", quantization="8bit", **SHORT), tmp_path / "r", meddler
        )

    def test_steps_of_the_warmup_at_rate_0_do_not_count(self, recipe_of: Any) -> None:
        recipe = recipe_of("lora", **SHORT | {"training.max_steps": 5, "training.warmup_ratio": 0.5})
        method = peftkit.run(recipe).method
        assert (method["checked_after_steps"], method["unmoved"]) == (3, [])
        recipe = recipe_of("lora", **SHORT | {"training.max_steps": 3, "training.warmup_ratio": 0.5})
        assert peftkit.run(recipe).method["checked_after_steps"] == 2

    def test_accumulated_steps_count_once(self, recipe_of: Any) -> None:
        recipe = recipe_of("lora", **SHORT | {"training.gradient_accumulation_steps": 2, "training.max_steps": 2})
        assert peftkit.run(recipe).method["checked_after_steps"] == 1  # the first of two is warmup

    def test_an_adapter_that_no_gradient_reaches_ends_the_run(
        self, recipe_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attach = METHODS["lora"].attach

        def cut_off(self: Any, base: Any, total_steps: int) -> Any:
            model = attach(self, base, total_steps)
            layer = model.get_submodule("base_model.model.bert.encoder.layer.0")
            layer.register_forward_hook(lambda module, inputs, output: output.detach())
            return model

        monkeypatch.setattr(METHODS["lora"], "attach", cut_off)
        told = ends(recipe_of("lora", **SHORT), tmp_path / "run")
        assert (
            "layer.0.attention.self.query.lora_A.default.weight and 3 more: trained, but no gradient has reached"
            in told
        )

    def test_an_adapter_whose_gradients_are_all_zero_ends_the_run(
        self, recipe_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attach = METHODS["lora"].attach

        def silenced(self: Any, base: Any, total_steps: int) -> Any:
            model = attach(self, base, total_steps)
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.register_hook(torch.zeros_like)
            return model

        monkeypatch.setattr(METHODS["lora"], "attach", silenced)
        told = ends(recipe_of("lora", **SHORT), tmp_path / "run")
        assert "trained, but none of it has moved in the first 3 optimizer steps" in told


class Bench:
    """A guard over a small model, and what it needs of a run; nothing else of a run is there."""

    def __init__(self, model: nn.Module, head: tuple[str, ...] = ()) -> None:
        self.skipped = False
        self.device, self.mixed_precision = torch.device("cpu"), "no"
        base: Any = Base(model, head, None)  # type: ignore[arg-type]
        method: Any = SimpleNamespace(starts_as_base=lambda: False)
        self.guard = Guard(self, method, base, None, None)  # type: ignore[arg-type]
        self.guard.model_ready(model)
        self.guard.training_started(9)

    @property
    def optimizer_step_was_skipped(self) -> bool:
        return self.skipped

    def step(self, rate: float = 1e-3, skipped: bool = False) -> None:
        self.skipped = skipped
        self.guard.stepped(Step(1, 1.0, rate, 0.1, samples=1, tokens=1, padded_tokens=1, supervised=1))


class TestCounting:
    def test_skipped_steps_and_steps_at_rate_0_do_not_count(self) -> None:
        bench = Bench(model := nn.Linear(2, 2))
        for rate, skipped in ((0.0, False), (1e-3, True), (1e-3, False), (1e-3, True), (1e-3, False)):
            bench.step(rate, skipped)
        assert bench.guard.counted == 2 and bench.guard.before is not None
        for parameter in model.parameters():
            parameter.data += 1
        bench.step()
        assert bench.guard.findings() == {"checked_after_steps": 3, "unmoved": []}

    def test_a_run_without_a_step_that_counts_claims_nothing(self) -> None:
        bench = Bench(nn.Linear(2, 2))
        bench.step(skipped=True)
        assert bench.guard.findings() == {}

    def test_what_the_base_brings_and_the_task_does_not_use_is_noted_only(self) -> None:
        bench = Bench(model := nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
        model[0](torch.ones(1, 2)).sum().backward()
        model[0].weight.data += 1
        model[0].bias.data += 1
        for _ in range(3):
            bench.step()
        assert bench.guard.findings()["unmoved"] == ["1.bias", "1.weight"]

    def test_a_head_that_no_gradient_reaches_ends_the_run(self) -> None:
        bench = Bench(model := nn.ModuleDict({"base": nn.Linear(2, 2), "score": nn.Linear(2, 2)}), ("score",))
        for parameter in model.parameters():
            parameter.data += 1  # by weight decay, say
        model["base"](torch.ones(1, 2)).sum().backward()
        bench.step()
        bench.step()
        with pytest.raises(PeftkitError, match=r"score\.bias and 1 more: trained, but no gradient has reached it"):
            bench.step()

    def test_running_statistics_may_move_where_their_module_is_trained(self) -> None:
        model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
        bench = Bench(model)
        for tensor in kept_tensors(model).values():
            tensor.data += 1
        for _ in range(3):
            bench.step()
        model[0].requires_grad_(False)
        bench = Bench(model)
        model[0].running_mean += 1  # type: ignore[operator]
        bench.step()
        bench.step()
        with pytest.raises(PeftkitError, match=r"0\.running_mean: frozen, and yet changed"):
            bench.step()


class TestBeforeTheFirstStep:
    def test_a_head_that_is_not_trained_is_named(self) -> None:
        model = nn.ModuleDict({"base": nn.Linear(2, 2), "score": nn.Linear(2, 2).requires_grad_(False)})
        with pytest.raises(PeftkitError, match=r"score\.weight belongs to the task's new head, but"):
            Bench(model, ("score",))

    def test_a_tensor_on_another_device_is_named(self) -> None:
        layer = nn.Linear(2, 2)
        layer.register_buffer("mask", torch.zeros(1, device="meta"))
        with pytest.raises(PeftkitError, match=r"mask is on meta, but this process trains on cpu"):
            check_placement(layer, torch.device("cpu"))

    def test_half_precision_where_training_happens_is_named(self) -> None:
        layer = nn.Linear(2, 2, dtype=torch.bfloat16)
        with pytest.raises(PeftkitError, match=r"weight is trained in torch\.bfloat16"):
            check_precision(dict(layer.named_parameters()))

    def test_a_method_that_does_not_start_as_it_promises_ends_the_run(
        self, recipe_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attach = METHODS["lora"].attach

        def disturbed(self: Any, base: Any, total_steps: int) -> Any:
            model = attach(self, base, total_steps)
            next(p for name, p in model.named_parameters() if "lora_B" in name).data += 0.1
            return model

        monkeypatch.setattr(METHODS["lora"], "attach", disturbed)
        told = ends(recipe_of("lora", **SHORT), tmp_path / "run")
        assert "before any training the model with the adapter gives other logits than the base" in told

    def test_settings_that_change_the_start_are_not_held_to_it(self, recipe_of: Any) -> None:
        lora = METHODS["lora"]
        assert lora(recipe_of({"name": "lora", "init_lora_weights": "gaussian"}).method).starts_as_base()
        assert not lora(recipe_of({"name": "lora", "init_lora_weights": False}).method).starts_as_base()


@pytest.mark.parametrize("name", ["full", "lora", "adalora", "bottleneck", "prefix-tuning"])
def test_what_is_trained_over_a_half_precision_base_is_in_float32(name: str, recipe_of: Any) -> None:
    recipe = recipe_of(name, **SHORT | {"training.max_steps": 20})
    recipe = peftkit.Recipe.model_validate(recipe.given() | {"model": recipe.given()["model"] | {"dtype": "bfloat16"}})
    assert peftkit.run(recipe).method["unmoved"] == []


def test_adalora_does_not_train_its_rank_counts_where_peft_moves_them(recipe_of: Any) -> None:
    """peft unfreezes them when the base is in another dtype, or on another device, than they were made in."""
    from tests.test_methods import build

    _, method, base = build(recipe_of("adalora"))
    model = method.attach(Base(base.model.bfloat16(), base.head, None), 20)
    assert not [name for name, p in model.named_parameters() if "ranknum" in name and p.requires_grad]


class TestCoverage:
    def test_names_are_collapsed_over_their_numbers(self) -> None:
        names = [f"encoder.layer.{i}.attention.self.{part}" for i in range(100) for part in ("query", "value")]
        assert collapsed(names) == [f"encoder.layer.0-99.attention.self.{part}" for part in ("query", "value")]
        assert collapsed(["a.0.b", "a.1.b", "a.2.b", "a.5.b", "c"]) == ["a.0-2,5.b", "c"]
        experts = [f"layers.{layer}.experts.{expert}.up" for layer in range(2) for expert in range(8)]
        assert collapsed([*experts, "layers.2.experts.1.up"]) == ["layers.0-1.experts.0-7.up", "layers.2.experts.1.up"]
        assert collapsed([]) == []

    @pytest.mark.parametrize(
        "targets, by, patterns",
        [
            (None, "peft", {"query", "value"}),
            (["query", "0.output.dense"], "recipe", {"query", "0.output.dense"}),
            (r".*\.1\..*dense", "recipe", {r".*\.1\..*dense"}),
            ("all-linear", "recipe", {"all-linear"}),
        ],
    )
    def test_the_record_says_which_pattern_reached_what(
        self, targets: Any, by: str, patterns: set[str], recipe_of: Any
    ) -> None:
        from tests.test_methods import build

        settings = {"name": "lora"} | ({"target_modules": targets} if targets else {})
        _, method, base = build(recipe_of(settings))
        whole = {name: p.numel() for name, p in base.model.named_parameters() if not name.startswith("classifier")}
        reach = method.reach(method.attach(base, 20))
        assert reach["targets_by"] == by
        assert set(reach["targets_by_pattern"]) == patterns
        held = sum(size for name, size in whole.items() if name.rpartition(".")[0] in reach["targeted_modules"])
        assert reach["targeted_parameter_share"] == held / sum(whole.values()) > 0

    def test_an_architecture_that_peft_does_not_know_gets_all_linear_layers(self, recipe_of: Any) -> None:
        from tests.test_methods import build

        _, method, base = build(recipe_of("lora", "distilbert"))
        reach = method.reach(method.attach(base, 20))
        assert (reach["targets_by"], reach["targeted_linear_share"]) == ("all-linear", 1.0)

    @pytest.mark.parametrize("name", ["lora", "adalora", "bottleneck"])
    @pytest.mark.parametrize("bits", ["8bit", "4bit"])
    def test_shares_are_those_of_the_unquantized_base(self, name: str, bits: str, recipe_of: Any) -> None:
        from tests.test_methods import build

        shares = set()
        for quantization in ("none", bits):
            _, method, base = build(recipe_of(name, quantization=quantization))
            shares.add(method.reach(method.attach(base, 20))["targeted_parameter_share"])
        assert len(shares) == 1

    def test_a_pattern_that_only_the_head_matches_is_refused(self, recipe_of: Any) -> None:
        from tests.test_methods import build

        _, method, base = build(recipe_of({"name": "lora", "target_modules": ["query", "classifier"]}))
        with pytest.raises(UserError, match=r"'classifier' matches no module"):
            method.attach(base, 20)

    def test_check_verbose_names_targets_and_what_is_trained(self, recipe_of: Any, tmp_path: Path) -> None:
        from tests.test_cli import well

        (tmp_path / "recipe.yaml").write_text(recipe_of("lora").to_yaml())
        told = well("check", tmp_path / "recipe.yaml", "--verbose")
        assert "query: bert.encoder.layer.0-1.attention.self.query\n" in told
        assert "33.3% of the linear layers" not in told  # 4 of 13: the pooler's is one of them
        assert "30.8% of the linear layers, 18.8% of the base's parameters" in told
        assert "base_model.model.bert.encoder.layer.0-1.attention.self.query.lora_A.default.weight" in told
