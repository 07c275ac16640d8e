"""peftkit trains what transformers.Trainer + peft trains: on toys here, on real data in benchmarks/parity."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import WORDS, toy_rows

PARITY = Path(__file__).parent.parent / "benchmarks" / "parity"
ROOMS = ("choosing", "comparisons", "guides", "run", "table", "trainer_side")
PROMISED = 1e-4
"""Largest relative difference of losses, in float32 and without dropout."""


@pytest.fixture(scope="module")
def parity() -> Iterator[ModuleType]:
    """benchmarks/parity/run.py, imported by path as its command line does it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PARITY))
        import run  # type: ignore[import-not-found]
        import trainer_side  # type: ignore[import-not-found]

        run.Settings = trainer_side.Settings
        yield run
    for name in ROOMS:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def table() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PARITY))
        import table  # type: ignore[import-not-found]

        yield table
    sys.modules.pop("table", None)


def toy_decoder(base: Path, folder: Path) -> Path:
    """The toy Llama with a tokenizer that begins texts, as decoders' do, and does not end them."""
    import shutil

    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    shutil.copytree(base, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    tokenizer.save_pretrained(folder)
    return folder


def prompts(count: int) -> list[dict[str, str]]:
    """Prompts of 2 to 6 words and completions that repeat them backwards."""
    chosen = [[WORDS[(i * 5 + k * 3) % 60] for k in range(2 + i % 5)] for i in range(count)]
    return [{"prompt": " ".join(words), "completion": " ".join(words[::-1])} for words in chosen]


def agree(parity: ModuleType, comparison: Any, rows: list[Any], test: list[Any]) -> None:
    """Both sides' losses agree, are those of a model that learns, and end in the same score."""
    found = parity.compare(comparison, parity.Chosen(rows, test), seed=3)
    losses = found["losses"]
    assert len(losses["peftkit"]) == len(losses["trainer"]) == comparison.settings.steps
    assert losses["peftkit"] == pytest.approx(losses["trainer"], rel=PROMISED)
    assert min(losses["trainer"][-3:]) < 0.9 * losses["trainer"][0]
    assert found["scores"]["peftkit"] == pytest.approx(found["scores"]["trainer"], rel=PROMISED)


def test_text_classification(parity: ModuleType, toys: Any, tmp_path: Path) -> None:
    base = parity.without_dropout(toys("bert"), tmp_path / "base")
    settings = parity.Settings(str(base), ("query", "value"), 20, 8, 1e-2, 32)
    comparison = parity.Comparison("toy", "text-classification", "", "accuracy", settings, 0, 0)
    agree(parity, comparison, toy_rows(76), toy_rows(24, offset=300))  # a last batch of 4, a second and a third epoch


def test_text_generation(parity: ModuleType, toys: Any, tmp_path: Path) -> None:
    base = toy_decoder(toys("llama", "AutoModelForCausalLM"), tmp_path / "base")
    settings = parity.Settings(str(base), ("q_proj", "v_proj"), 20, 8, 3e-2, 32)
    options = {"separator": "\n"}
    comparison = parity.Comparison("toy", "text-generation", "", "perplexity", settings, 0, 0, options)
    agree(parity, comparison, prompts(76), prompts(20))


def questions(count: int) -> list[dict[str, Any]]:
    """Contexts of 6 to 18 words; the answer is the word after the one that is asked for."""
    rows = []
    for i in range(count):
        words = [WORDS[(i * 7 + k * 11) % 60] for k in range(6 + i % 13)]
        asked = i % (len(words) - 1)
        start = sum(len(word) + 1 for word in words[: asked + 1])
        answer = {"text": [words[asked + 1]], "answer_start": [start]}
        rows.append({"question": words[asked], "context": " ".join(words), "answers": answer})
    return rows


def test_question_answering_differs_by_padding_alone(
    parity: ModuleType, toys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers lets an answer begin at padding; without that the losses are peftkit's."""
    import trainer_side  # type: ignore[import-not-found]
    from torch.nn.functional import cross_entropy

    class Masked(trainer_side.Ordered):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **given: Any) -> Any:
            found = super().compute_loss(model, inputs, return_outputs=return_outputs, **given)
            if not model.training:
                return found
            outputs, padding = model(**inputs), inputs["attention_mask"] == 0
            pairs = (outputs.start_logits, inputs["start_positions"]), (outputs.end_logits, inputs["end_positions"])
            loss = sum(cross_entropy(logits.masked_fill(padding, -1e9), places) for logits, places in pairs) / 2
            self.losses[-1] = loss.item()
            return loss

    base = parity.without_dropout(toys("bert"), tmp_path / "base")
    settings = replace(parity.Settings(str(base), ("query", "value"), 20, 8, 3e-2, 32), stride=8)
    comparison = parity.Comparison("toy", "question-answering", "", "squad_f1", settings, 0, 0)
    rows = parity.Chosen(questions(76), questions(20))
    plain = parity.compare(comparison, rows, seed=3)["losses"]
    assert plain["peftkit"][0] != pytest.approx(plain["trainer"][0], rel=1e-2)
    monkeypatch.setattr(trainer_side, "Ordered", Masked)
    agree(parity, comparison, rows.train, rows.test)


def test_dropout_is_off_in_a_copy_and_the_base_stays_as_it_is(parity: ModuleType, toys: Any, tmp_path: Path) -> None:
    import json

    base = toys("bert")
    before = (base / "config.json").read_text()
    copy = json.loads((parity.without_dropout(base, tmp_path / "copy") / "config.json").read_text())
    assert copy["hidden_dropout_prob"] == copy["attention_probs_dropout_prob"] == 0
    assert (base / "config.json").read_text() == before != json.dumps(copy)
    assert json.loads(before)["hidden_dropout_prob"] > 0


def test_without_the_data_it_says_so(parity: ModuleType, tmp_path: Path, capsys: Any) -> None:
    output = tmp_path / "results.json"
    parity.main(["--data", str(tmp_path / "absent"), "--models", str(tmp_path), "--output", str(output)])
    assert "no such folder" in capsys.readouterr().out
    assert not output.exists()


def test_the_difference_is_the_largest_of_the_steps_compared(table: ModuleType) -> None:
    losses = {"trainer": [2.0, 4.0, 1.0], "peftkit": [2.0, 3.9, 2.0]}
    assert table.largest_difference(losses, 2) == pytest.approx(0.025)  # |3.9 - 4| / 4
    assert table.largest_difference(losses, 3) == 1.0


def test_the_committed_table_is_of_the_committed_results_and_keeps_the_promise(table: ModuleType) -> None:
    import json

    page = (PARITY / "README.md").read_text(encoding="utf-8")
    shown = page.partition(table.BEGIN)[2].partition(table.END)[0]
    assert shown.strip() == table.table_of(PARITY / "results.json").strip()
    found = json.loads((PARITY / "results.json").read_text(encoding="utf-8"))["comparisons"]
    exact = [one for one in found if not one["name"].endswith("padded")]
    assert {one["task"] for one in exact} >= {
        "text-classification",
        "token-classification",
        "question-answering",
        "text-generation",
    }
    for one in exact:
        assert len(one["runs"]) == 3
        assert all(table.largest_difference(run["losses"]) <= PROMISED for run in one["runs"]), one["name"]
    for one in found:
        assert scores_within_spread(one["runs"]), one["name"]


def scores_within_spread(runs: list[dict[str, Any]]) -> bool:
    """Whether the sides' means are no further apart than the larger of their standard deviations over the seeds."""
    sides = [[run["scores"][side] for run in runs] for side in ("trainer", "peftkit")]
    return abs(mean(sides[0]) - mean(sides[1])) <= max(map(stdev, sides))
