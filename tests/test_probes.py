"""Costs: parameters counted, memory seen by phase, throughput of the steady steps, bytes on disk."""

import platform
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
    return [Step(i, 1.0, 1e-3, time, samples, tokens, padded) for i, time in enumerate(seconds, 1)]


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
    costs = throughput([*steps([50.0, 1.0, 1.0]), Step(4, 1.0, 1e-3, 2.0, 1, 10, 10)])
    assert costs["train_seconds"] == pytest.approx(54)
    assert costs["train_tokens"] == 3 * 30 + 10
    assert costs["padding_share"] == pytest.approx(1 - 100 / 130)


def test_rates_weigh_long_steps_as_long():
    # 1 s with 4 samples and 3 s with 2 samples: 6 samples in 4 s, and not the mean of 4/s and 2/3 per s
    costs = throughput([*steps([9.0]), Step(2, 1.0, 1e-3, 1.0, 4, 1, 1), Step(3, 1.0, 1e-3, 3.0, 2, 1, 1)])
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
    bytearray(size)[:] = b"x" * 1  # a bytearray of zeros is not resident until it is written to
    block = bytearray(size)
    for page in range(0, size, 4096):
        block[page] = 1


def small_blocks(size: int) -> None:
    """Blocks that glibc takes from its heap, and keeps there when they are freed."""
    assert all([torch.ones(16_384) is not None for _ in range(size // 65_536)])


def small_blocks_held(size: int) -> None:
    blocks = [torch.ones(16_384) for _ in range(size // 65_536)]  # 64 KiB each, in float32
    assert len(blocks) * 65_536 == size
