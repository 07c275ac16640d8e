"""Many methods on one real data set, each at a learning rate of its own that validation rows chose.

``python benchmarks/methods/run.py`` from the checkout, beside which ``../shared`` holds the data set. Three stages,
each of which goes on where it was interrupted (what was run stays in ``runs/methods``, records in
``benchmarks/results/methods``):

1. choose: every method without quantization at three learning rates, 1, 4 and 16 times its default, and at one more
   beyond where the best lies at an end. Only training rows are read; a tenth of them are validation rows. The best
   accuracy on these chooses, the lower rate among equals. Kept as ``choices.json``.
2. compare: every method at the chosen rate on {none, 4bit}, scored on all test rows.
3. seeds: the ten best by validation accuracy again, on {none, 4bit}, with two more seeds.

Rates are chosen without quantization and kept for 4 bits: a difference between the two is quantization's alone.
"""

from __future__ import annotations

import json
import shutil
from itertools import product
from pathlib import Path
from typing import Any

from peftkit import bench, load_recipe
from peftkit.errors import RecipeErrors
from peftkit.methods import METHODS
from peftkit.record import RECORD_FILE
from peftkit.suites import Cell

HERE = Path(__file__).parent
SHARED, RUNS, RESULTS = Path("../shared"), Path("runs/methods"), HERE.parent / "results" / "methods"
CHOICES = RESULTS / "choices.json"
TRAINING_ROWS = "data.source=../shared/data/banking77/train.jsonl.gz"
COMPARED: dict[str, str] = {
    **{name: name for name in ("full", "head", "bitfit", "ln-tuning", "lora")},
    "dora": "{name: lora, use_dora: true}",
    "rslora": "{name: lora, use_rslora: true}",
    "pissa": "{name: lora, init_lora_weights: pissa}",
    "olora": "{name: lora, init_lora_weights: olora}",
    **{name: name for name in ("adalora", "vera", "randlora", "vblora", "loha", "lokr", "hira", "gralora", "delora")},
    **{name: name for name in ("oft", "boft", "hra", "road", "fourierft", "c3a", "shira", "miss", "ia3")},
    **{variant: f"{{name: bottleneck, variant: {variant}}}" for variant in ("houlsby", "pfeiffer", "parallel")},
    **{name: name for name in ("prompt-tuning", "p-tuning", "prefix-tuning")},
}
"""The rows of the table, and the recipe's ``method`` of each."""
FACTORS = (1, 4, 16)
STEP = 4
BEST = 10
QUANTIZATIONS = ("none", "4bit")
MORE_SEEDS = (1, 2)


def main() -> None:
    """All three stages."""
    if not SHARED.is_dir():
        print(f"skipped: {SHARED} is not here; it holds the data set")
        return
    choices = {title: choose(title) for title in COMPARED}
    _write(CHOICES, choices)
    best = sorted(choices, key=lambda title: -choices[title]["accuracy"])[:BEST]
    for title, quantization in product(choices, QUANTIZATIONS):
        compare(title, choices[title]["learning_rate"], 0, quantization)
    for quantization in QUANTIZATIONS:
        for title, seed in product(best, MORE_SEEDS):
            compare(title, choices[title]["learning_rate"], seed, quantization)


def choose(title: str) -> dict[str, Any]:
    """``{"learning_rate": …, "accuracy": …, "tried": {rate: accuracy or status}}`` on validation rows."""
    default = METHODS[load_recipe(HERE / "recipe.yaml", [f"method={COMPARED[title]}"]).method.name].learning_rate
    tried = {factor: tried_at(title, default * factor) for factor in map(float, FACTORS)}
    order = sorted(tried, key=lambda factor: (-_accuracy(tried[factor]), factor))
    ends = {min(FACTORS): min(FACTORS) / STEP, max(FACTORS): max(FACTORS) * STEP}
    if order[0] in ends:
        tried[ends[order[0]]] = tried_at(title, default * ends[order[0]])
        order = sorted(tried, key=lambda factor: (-_accuracy(tried[factor]), factor))
    return {
        "learning_rate": _rounded(default * order[0]),
        "accuracy": tried[order[0]],
        "tried": {str(_rounded(default * factor)): tried[factor] for factor in sorted(tried)},
    }


def tried_at(title: str, rate: float) -> float | str:
    """The accuracy on validation rows at a learning rate, or how the run ended."""
    rate = _rounded(rate)
    settings = [f"method={COMPARED[title]}", f"training.learning_rate={rate}", TRAINING_ROWS]
    name = f"choose-{title}-{rate}"
    record = bench([Cell(name, load_recipe(HERE / "recipe.yaml", settings))], RUNS).records[name]
    print(name, record.status, record.scores.get("accuracy"), flush=True)
    return record.scores["accuracy"] if record.status == "ok" else record.status


def compare(title: str, rate: float, seed: int, quantization: str) -> None:
    """Runs at the chosen rate, and keeps the record, or why the method cannot be put on such a base."""
    name = f"{title}-{quantization}-seed{seed}"
    settings = [f"method={COMPARED[title]}", f"training.learning_rate={rate}", f"quantization={quantization}"]
    try:
        recipe = load_recipe(HERE / "recipe.yaml", [*settings, f"seed={seed}"])
    except RecipeErrors as refused:
        _write(RESULTS / name / "refused.json", {"reason": refused.lines[0]})
        return
    record = bench([Cell(name, recipe)], RUNS).records[name]
    print(name, record.status, record.scores.get("accuracy"), flush=True)
    (RESULTS / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(RUNS / "cells" / name / RECORD_FILE, RESULTS / name / RECORD_FILE)


def _accuracy(found: float | str) -> float:
    return found if isinstance(found, float) else -1.0


def _rounded(rate: float) -> float:
    """Two digits are enough for a learning rate."""
    return float(f"{rate:.2g}")


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
