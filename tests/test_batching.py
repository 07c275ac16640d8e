"""Which rows go through the model together: every row once, seeded, evenly spread, little padding."""

import itertools
import random

import pytest
import torch

from peftkit.contracts import IGNORED
from peftkit.data import effective_batches, in_length_order, step_slots
from peftkit.examples import collate_tokens

STRATEGIES = ["random", "group_by_length"]


def skewed(count: int) -> list[int]:
    """Lengths as texts have them: many short, few long."""
    draw = random.Random(0)
    return [min(512, 4 + int(draw.lognormvariate(3, 1))) for _ in range(count)]


def padding(batches: list[list[int]], lengths: list[int]) -> int:
    return sum(
        max(lengths[row] for row in batch) * len(batch) - sum(lengths[row] for row in batch) for batch in batches
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("count, size", [(1, 1), (5, 8), (64, 8), (65, 8), (1003, 16)])
def test_every_row_is_there_once_in_batches_of_the_size_but_for_one(strategy, count, size):
    batches = effective_batches(skewed(count), size, strategy, seed=3, epoch=1)
    assert sorted(itertools.chain(*batches)) == list(range(count))
    assert sorted(map(len, batches), reverse=True) == [size] * (count // size) + [count % size] * (count % size > 0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else(strategy):
    lengths = skewed(300)
    orders = [effective_batches(lengths, 8, strategy, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    random.seed(1)
    assert [effective_batches(lengths, 8, strategy, seed, epoch) for seed in (0, 1) for epoch in (0, 1)] == orders
    assert all(one != other for one, other in itertools.combinations(orders, 2))


def test_grouping_by_length_pads_less_and_stays_random():
    lengths = skewed(5000)
    grouped, other = (effective_batches(lengths, 16, "group_by_length", 0, epoch) for epoch in (0, 1))
    assert padding(grouped, lengths) < padding(effective_batches(lengths, 16, "random", 0, 0), lengths) / 4
    means = [sum(lengths[row] for row in batch) / len(batch) for batch in grouped]
    ups = sum(one < next_one for one, next_one in itertools.pairwise(means)) / (len(means) - 1)
    assert 0.4 < ups < 0.6, "a sorted epoch would go one way only"
    assert not {frozenset(batch) for batch in grouped} & {frozenset(batch) for batch in other}


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 5, 7, 8, 24, 25, 64])
def test_the_shares_of_the_processes_are_a_partition_in_as_many_passes_each(count, size, processes):
    batch = random.Random(count).sample(range(1000), count)
    shares = [step_slots(batch, size, processes, rank) for rank in range(processes)]
    assert sorted(row for share in shares for slot in share for row in slot) == sorted(batch)
    assert len({len(share) for share in shares}) == 1
    assert len(shares[0]) == -(-count // (size * processes)), "no more passes than are needed"
    sizes = [len(slot) for share in shares for slot in share]
    assert max(sizes) <= size and max(sizes) - min(sizes) <= 1, "evenly spread"


@pytest.mark.parametrize("count, size", [(1, 4), (7, 4), (100, 9)])
def test_evaluation_reads_every_row_once_longest_first(count, size):
    lengths = skewed(count)
    batches = in_length_order(lengths, size)
    order = list(itertools.chain(*batches))
    assert sorted(order) == list(range(count)) and max(map(len, batches)) <= size
    assert [lengths[row] for row in order] == sorted(lengths, reverse=True)


# --- Collating -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(toys):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(toys("bert"))


@pytest.mark.parametrize("side", ["right", "left"])
def test_rows_are_padded_at_the_right_with_attention_0(side, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "padding_side", side)
    rows = [dict(tokenizer(text)) for text in ("word1", "word1 word2 word3", "word4 word5")]
    batch = collate_tokens([{**row, "labels": number} for number, row in enumerate(rows)], tokenizer)
    assert batch.inputs.keys() == {"input_ids", "token_type_ids", "attention_mask"} and batch.padded_tokens == 15
    for number, row in enumerate(rows):
        length = len(row["input_ids"])
        assert batch.inputs["input_ids"][number].tolist() == row["input_ids"] + [tokenizer.pad_token_id] * (5 - length)
        assert batch.inputs["attention_mask"][number].tolist() == [1] * length + [0] * (5 - length)
    assert torch.equal(batch.labels, torch.tensor([0, 1, 2]))


def test_a_batch_is_as_long_as_its_longest_row(tokenizer):
    rows = [dict(tokenizer(text)) for text in ("word1", "word1 word2")]
    assert collate_tokens(rows[:1], tokenizer).inputs["input_ids"].shape == (1, 3)
    assert collate_tokens(rows, tokenizer).inputs["input_ids"].shape == (2, 4)
    assert collate_tokens(rows, tokenizer).labels is None


def test_lists_of_labels_are_padded_with_what_no_loss_looks_at(tokenizer):
    rows = [{**tokenizer(text), "labels": labels} for text, labels in (("word1", [1, 2, 3]), ("word1 word2", [4] * 4))]
    labels = collate_tokens(rows, tokenizer).labels
    assert labels.tolist() == [[1, 2, 3, IGNORED], [4, 4, 4, 4]]
    logits = torch.randn(2, 4, 5)
    ignoring = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
    by_hand = -logits.log_softmax(-1).gather(-1, labels.clamp(min=0).unsqueeze(-1))[:, :, 0]
    assert ignoring == pytest.approx(float(by_hand.sum() - by_hand[0, 3]), rel=1e-5)


def test_decimal_labels_stay_decimal(tokenizer):
    rows = [{**tokenizer("word1"), "labels": label} for label in (0.5, 2.0)]
    assert collate_tokens(rows, tokenizer).labels.dtype == torch.float32
