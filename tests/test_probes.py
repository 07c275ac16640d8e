"""Costs: parameters counted, memory seen by phase, throughput of the steady steps, bytes on disk."""

import platform
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from peftkit.contracts import Step
from peftkit.probes import PROBES, memory
from peftkit.probes.memory import MemoryProbe, ResidentMeter
from peftkit.probes.parameters import ParameterProbe, count
from peftkit.probes.storage import StorageProbe
from peftkit.probes.throughput import ThroughputProbe, warm_up

MB = 2**20
HELD = 0.05
"""Seconds that memory is held, so that a sampler which looks every 10 ms sees it."""

# --- Parameters ------------------------------------------------------------------------------------------------------


class Tied(nn.Module):
    """An embedding of 10 × 4 that is the output layer too, and a frozen layer of 4 × 3 with 3 biases."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.frozen = nn.Linear(4, 3).requires_grad_(False)
        self.output = nn.Linear(4, 10, bias=False)
        self.output.weight = self.embedding.weight


def test_frozen_parts_count_in_the_total_and_tied_weights_once():
    assert count(Tied()) == (40, 40 + 4 * 3 + 3)


def test_a_packed_weight_counts_as_the_weights_it_holds():
    model = nn.Linear(6, 4, bias=False).requires_grad_(False)
    model.weight = nn.Parameter(torch.zeros(12, 1, dtype=torch.uint8), requires_grad=False)  # two 4-bit weights a byte
    model.weight.quant_state = SimpleNamespace(shape=(4, 6))
    assert count(model) == (0, 24)


def test_the_original_that_peft_keeps_beside_a_trained_head_does_not_count():
    head = nn.Module()
    head.original_module = nn.Linear(4, 2).requires_grad_(False)
    head.modules_to_save = nn.ModuleDict({"default": nn.Linear(4, 2)})
    assert count(nn.ModuleDict({"head": head})) == (10, 10)


def test_the_share_is_trainable_over_total():
    probe = ParameterProbe()
    assert probe.costs() == {}
    probe.model_ready(Tied())
    assert probe.costs() == {
        "trainable_parameters": 40,
        "total_parameters": 55,
        "trainable_share": pytest.approx(40 / 55),
    }


# --- Throughput ------------------------------------------------------------------------------------------------------


def steps(seconds: list[float], samples: int = 4, tokens: int = 30, padded: int = 40) -> list[Step]:
    return [Step(i, 1.0, 1e-3, time, samples, tokens, padded, samples) for i, time in enumerate(seconds, 1)]


def throughput(of: list[Step]) -> dict[str, Any]:
    probe = ThroughputProbe()
    for step in of:
        probe.stepped(step)
    return probe.costs()


@pytest.mark.parametrize(
    "run, left_out", [(1, 0), (2, 1), (5, 1), (19, 1), (20, 2), (55, 5), (100, 10), (109, 10), (5000, 10)]
)
def test_a_tenth_of_the_steps_is_left_out_at_least_1_at_most_10(run, left_out):
    assert warm_up(run) == left_out
    assert throughput(steps([1.0] * run))["steady_steps"] == run - left_out


def test_rates_are_those_of_the_steady_steps():
    # 20 steps: the first two, slow, are left out; 18 steady ones of 0.5 and 1.5 s in turn take 9·0.5 + 9·1.5 = 18 s
    costs = throughput(steps([50.0, 40.0] + [0.5, 1.5] * 9))
    assert costs["steps"] == 20 and costs["steady_steps"] == 18
    assert costs["samples_per_second"] == pytest.approx(18 * 4 / 18)
    assert costs["tokens_per_second"] == pytest.approx(18 * 30 / 18)
    assert costs["padded_tokens_per_second"] == pytest.approx(18 * 40 / 18)
    assert costs["step_seconds_median"] == pytest.approx(1.0)  # between nine 0.5 and nine 1.5
    assert costs["step_seconds_iqr"] == pytest.approx(1.0)  # from 0.5 to 1.5


def test_training_time_tokens_and_padding_are_those_of_all_steps():
    costs = throughput([*steps([50.0, 1.0, 1.0]), Step(4, 1.0, 1e-3, 2.0, 1, 10, 10, 1)])
    assert costs["train_seconds"] == pytest.approx(54)
    assert costs["train_tokens"] == 3 * 30 + 10
    assert costs["padding_share"] == pytest.approx(1 - 100 / 130)


def test_rates_weigh_long_steps_as_long():
    # 1 s with 4 samples and 3 s with 2 samples: 6 samples in 4 s, and not the mean of 4/s and 2/3 per s
    costs = throughput([*steps([9.0]), Step(2, 1.0, 1e-3, 1.0, 4, 1, 1, 4), Step(3, 1.0, 1e-3, 3.0, 2, 1, 1, 2)])
    assert costs["samples_per_second"] == pytest.approx(1.5)


def test_one_step_gives_rates_without_spread_and_none_gives_nothing():
    costs = throughput(steps([2.0]))
    assert costs["samples_per_second"] == 2.0 and costs["step_seconds_iqr"] == 0
    assert throughput([]) == {}


# --- Storage ---------------------------------------------------------------------------------------------------------


def test_storage_is_the_size_of_the_safetensors_files(tmp_path):
    probe = StorageProbe()
    assert probe.costs() == {"adapter_bytes": None}
    for name, size in {"a.safetensors": 100, "b.safetensors": 23, "tokenizer.json": 999}.items():
        (tmp_path / name).write_bytes(b"x" * size)
    probe.saved(tmp_path)
    assert probe.costs() == {"adapter_bytes": 123}


# --- Memory ----------------------------------------------------------------------------------------------------------


def one_block(size: int) -> None:
    block = b"x" * size
    time.sleep(HELD)
    assert len(block) == size


def small_blocks(size: int) -> None:
    """Blocks of 64 KiB, which glibc takes from its heap and keeps there when they are freed."""
    blocks = [torch.ones(16_384) for _ in range(size // 65_536)]
    time.sleep(HELD)
    assert len(blocks) == size // 65_536


def resident(probe: MemoryProbe) -> dict[str, float]:
    """Peaks by phase, in MiB."""
    return {phase: peaks["resident"] / MB for phase, peaks in probe.phases.items()}


@pytest.fixture(params=["kernel", "sampled"])
def on_cpu(request, monkeypatch, tmp_path):
    """A memory probe of the resident set: by the kernel's mark, and where the kernel keeps none."""
    monkeypatch.setattr(memory, "make_meter", ResidentMeter)
    if request.param == "sampled":
        monkeypatch.setattr(memory, "RESET", tmp_path / "nowhere" / "clear_refs")
    elif not memory._reset_high_water_mark():
        pytest.skip("this kernel keeps no high-water mark that can be reset")
    return MemoryProbe()


@pytest.mark.parametrize("allocate", [one_block, small_blocks])
def test_the_peak_of_each_phase_is_seen_and_earlier_ones_do_not_count(allocate, on_cpu):
    if allocate is small_blocks and platform.libc_ver()[0] != "glibc":
        pytest.skip("freed memory can be handed back on glibc only")
    for phase, size in {"load": 200, "train": 60, "evaluate": 120}.items():
        on_cpu.phase_started(phase)
        allocate(size * MB)
        on_cpu.phase_ended(phase)
    assert resident(on_cpu) == pytest.approx({"load": 200, "train": 60, "evaluate": 120}, rel=0.2)
    costs = on_cpu.costs()
    assert costs["peak_memory_bytes"] == max(peaks["resident"] for peaks in on_cpu.phases.values())
    assert costs["memory"] == {"method": costs["memory"]["method"], **on_cpu.phases}
    sampled = on_cpu.meter.sampler is not None
    assert costs["memory"]["method"].endswith("sampled every 10 ms" if sampled else "reset at each phase")


def test_what_is_held_counts_in_the_phases_that_follow(on_cpu):
    on_cpu.phase_started("load")
    weights = b"w" * (80 * MB)
    on_cpu.phase_ended("load")
    on_cpu.phase_started("train")
    one_block(60 * MB)
    on_cpu.phase_ended("train")
    assert resident(on_cpu) == pytest.approx({"load": len(weights) / MB, "train": 140}, rel=0.2)


def test_a_phase_keeps_the_larger_peak_of_its_stretches(on_cpu):
    for size in (100, 20):
        on_cpu.phase_started("train")
        one_block(size * MB)
        on_cpu.phase_ended("train")
    assert resident(on_cpu) == pytest.approx({"train": 100}, rel=0.2)


def test_what_was_there_before_and_other_phases_do_not_count(on_cpu):
    before = b"x" * (80 * MB)
    for phase in ("import", "tokenize"):
        on_cpu.phase_started(phase)
        one_block(100 * MB)
        on_cpu.phase_ended(phase)
    assert on_cpu.costs() == {} and len(before) == 80 * MB
    on_cpu.phase_started("train")
    on_cpu.phase_ended("train")
    assert resident(on_cpu)["train"] < 10


@pytest.mark.gpu
def test_on_cuda_allocated_and_reserved_are_seen_by_phase():
    probe = MemoryProbe()
    for phase, size in {"load": 200, "train": 60}.items():
        probe.phase_started(phase)
        torch.ones(size * MB // 4, device="cuda")
        probe.phase_ended(phase)
    assert {phase: peaks["allocated"] / MB for phase, peaks in probe.phases.items()} == pytest.approx(
        {"load": 200, "train": 60}, rel=0.2
    )
    assert all(peaks["reserved"] >= peaks["allocated"] for peaks in probe.phases.values())
    assert probe.costs()["peak_memory_bytes"] == probe.phases["load"]["allocated"]


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_that_saw_nothing_gives_no_number(name: str):
    assert not [value for value in PROBES[name]().costs().values() if value is not None]


def test_no_two_probes_give_a_cost_of_the_same_name(tmp_path: Path):
    costs: list[str] = []
    for make in PROBES.values():
        probe = make()
        probe.phase_started("train")
        probe.model_ready(Tied())
        for step in steps([1.0, 1.0]):
            probe.stepped(step)
        probe.phase_ended("train")
        probe.saved(tmp_path)
        costs += probe.costs()
    assert len(set(costs)) == len(costs) > 10
