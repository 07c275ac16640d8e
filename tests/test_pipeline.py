"""A recipe goes in, a record comes out: what a run leaves behind, and what it leaves when it goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import peftkit
from peftkit.contracts import Step, Watcher
from peftkit.errors import OutOfMemory, PeftkitError, UserError
from peftkit.record import PREDICTIONS_FILE, Record
from tests.conftest import BY_NAME

FILES = {
    "model_config.json",
    "predictions.parquet",
    "recipe.yaml",
    "record.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, toys: Any, toy_data: Path) -> tuple[Path, Record]:
    """A finished LoRA run."""
    folder = tmp_path_factory.mktemp("runs") / "lora"
    recipe = peftkit.Recipe.model_validate(
        {
            "model": str(toys()),
            "method": "lora",
            "task": "text-classification",
            "data": str(toy_data),
            "training": {"epochs": 6.0, "batch_size": 8, "max_length": 32, "learning_rate": 1e-2},
        }
    )
    return folder, peftkit.run(recipe, folder)


class Failing(Watcher):
    """Fails at the third step."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def stepped(self, step: Step) -> None:
        if step.number == 3:
            raise self.error


def test_the_record_says_it_all(done: tuple[Path, Record]) -> None:
    folder, record = done
    assert Record.load(folder) == record
    assert record.status == "ok" and record.error is None
    assert record.scores.keys() == {"accuracy", "macro_f1", "weighted_f1", "matthews_correlation", "loss"}
    assert record.scores["accuracy"] > 0.6  # three classes
    assert record.scored_split == "test"
    assert record.detail["per_class"].keys() == {"class0", "class1", "class2"}
    assert record.data["train"]["rows"] == 96 and record.data["test"]["rows"] == 31
    assert record.resolved["total_steps"] == 72 and record.resolved["effective_batch_size"] == 8
    assert record.phases.keys() == {"import", "tokenize", "load", "train", "evaluate", "save"}
    assert record.seconds / 2 < sum(record.phases.values()) <= record.seconds
    assert record.environment["versions"]["torch"]
    assert record.history[0]["step"] == 1
    assert sum("validation_accuracy" in entry for entry in record.history) == 6
    assert record.method["targeted_linear_share"] > 0


def test_costs_are_measured(done: tuple[Path, Record]) -> None:
    folder, record = done
    costs = record.costs
    assert 0 < costs["trainable_parameters"] < costs["total_parameters"]
    assert costs["trainable_share"] == costs["trainable_parameters"] / costs["total_parameters"]
    assert costs["adapter_bytes"] == (folder / "adapter_model.safetensors").stat().st_size
    assert costs["steps"] == 72 and costs["steady_steps"] == 65
    assert costs["memory"].keys() >= {"load", "train", "evaluate", "method"}
    assert costs["samples_per_second"] > 0 and costs["tokens_per_second"] <= costs["padded_tokens_per_second"]


def test_predictions_stand_beside_the_record_and_give_its_scores(done: tuple[Path, Record]) -> None:
    import pyarrow.parquet

    folder, record = done
    rows = pyarrow.parquet.read_table(folder / PREDICTIONS_FILE).to_pylist()
    assert [row["row"] for row in rows] == list(range(31))
    assert [row["source_row"] for row in rows] == list(range(1, 32))
    assert sum(row["label"] == row["reference"] for row in rows) / 31 == pytest.approx(record.scores["accuracy"])


def test_the_folder_holds_an_adapter_in_pefts_format_and_no_pickle(done: tuple[Path, Record]) -> None:
    files = {path.name for path in done[0].iterdir()}
    assert files >= FILES | {"adapter_config.json", "adapter_model.safetensors"}
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl", ".pickle"))]
    assert "checkpoints" not in files


def test_others_load_it_without_peftkit(done: tuple[Path, Record]) -> None:
    """PeftModel.from_pretrained and transformers.pipeline give the record's predictions."""
    code = f"""
import json, sys
sys.modules["peftkit"] = None
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, pipeline
from peft import PeftModel
folder = {str(done[0])!r}
text = "word0 word1 word2 word45 word46 word47"
base = json.load(open(folder + "/adapter_config.json"))["base_model_name_or_path"]
config = AutoConfig.from_pretrained(folder + "/model_config.json")
whole = AutoModelForSequenceClassification.from_pretrained(folder, config=config)
model = AutoModelForSequenceClassification.from_pretrained(base, config=config)
model = PeftModel.from_pretrained(model, folder).eval()
inputs = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
score = float(model(**inputs).logits.softmax(-1).max())
found = pipeline("text-classification", model=whole, tokenizer=folder)(text)[0]
print(json.dumps([found["label"], found["score"], score]))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    label, by_pipeline, by_peft = json.loads(result.stdout.splitlines()[-1])
    ours = peftkit.load(done[0]).predict(["word0 word1 word2 word45 word46 word47"])[0]
    assert label == ours["label"]
    assert by_pipeline == pytest.approx(ours["score"], abs=1e-5) and by_peft == pytest.approx(ours["score"], abs=1e-5)


def test_a_loaded_run_scores_as_the_record_says(done: tuple[Path, Record]) -> None:
    folder, record = done
    assert peftkit.load(folder).evaluate("test").scores == pytest.approx(record.scores)
    with pytest.raises(UserError, match="unknown split 'tset', did you mean test"):
        peftkit.load(folder).evaluate("tset")


def test_what_is_given_to_predict_is_lines_or_rows(done: tuple[Path, Record]) -> None:
    model = peftkit.load(done[0])
    lines = ["word1 word2", '{"text": "word1 word2"}', {"text": "word1 word2"}]
    assert len({prediction["score"] for prediction in model.predict(lines)}) == 1
    for given, told in (
        ("word1 word2", "expected a list of lines or rows, given the text 'word1 word2'"),
        ([None], "row 1: expected text, or a dict of columns, given None"),
        ([{"txt": "word1"}], r"row 1: no column 'text', did you mean txt\? \(columns there: txt\)"),
    ):
        with pytest.raises(UserError, match=told):
            model.predict(given)  # type: ignore[arg-type]


def test_a_loaded_run_scores_other_data_whole(done: tuple[Path, Record], toy_data: Path) -> None:
    other = peftkit.load(done[0], [f"data.source={toy_data / 'validation.jsonl'}"]).evaluate()
    assert len(other.references) == 24


def test_an_adapter_without_its_recipe_still_predicts(done: tuple[Path, Record], tmp_path: Path) -> None:
    for name in ("adapter_config.json", "adapter_model.safetensors", "model_config.json"):
        (tmp_path / name).write_bytes((done[0] / name).read_bytes())
    text = ["word0 word1 word2 word45"]
    assert peftkit.load(tmp_path).predict(text) == peftkit.load(done[0]).predict(text)


@pytest.mark.parametrize("name", BY_NAME)
def test_every_method_runs_from_recipe_to_record(name: str, recipe_of: Any, tmp_path: Path) -> None:
    record = peftkit.run(recipe_of(name), tmp_path / "run")
    assert record.status == "ok"
    assert record.recipe["method"]["name"] == name
    assert len(peftkit.load(tmp_path / "run").predict(["word1 word2", "word30"])) == 2


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_quantized_base_runs_from_recipe_to_record(bits: str, recipe_of: Any, tmp_path: Path) -> None:
    record = peftkit.run(recipe_of(quantization=bits), tmp_path / "run")
    plain = peftkit.run(recipe_of(), None)
    assert record.costs["total_parameters"] == plain.costs["total_parameters"]
    assert peftkit.load(tmp_path / "run").evaluate().scores == pytest.approx(record.scores)


def test_a_pair_of_texts(toys: Any, tmp_path: Path) -> None:
    from tests.conftest import toy_rows, write_jsonl

    rows = [{"a": row["text"], "b": row["text"][::-1], "label": row["label"]} for row in toy_rows(60)]
    recipe = peftkit.Recipe.model_validate(
        {
            "model": str(toys()),
            "method": "head",
            "task": {"name": "text-classification", "text": "a", "text_pair": "b"},
            "data": {"source": str(write_jsonl(tmp_path / "rows.jsonl", rows)), "test": "20%"},
            "training": {"epochs": 1.0, "max_length": 32},
        }
    )
    assert peftkit.run(recipe, tmp_path / "run").status == "ok"
    model = peftkit.load(tmp_path / "run")
    assert len(model.predict(["word1 word2\tword3"])) == 1
    with pytest.raises(UserError, match="reads pairs"):
        model.predict(["word1 word2"])


class TestWrong:
    """One clear error, and nothing half-written."""

    def test_a_users_mistake_leaves_nothing(self, recipe_of: Any, tmp_path: Path) -> None:
        wrong: dict[tuple[str, Any], str] = {
            ("data.source", "/nowhere/at/all"): r"/nowhere/at/all: no such file or folder",
            ("model.name", "/nowhere"): r"/nowhere: no such folder",
            (
                "model.name",
                "org/unheard-of",
            ): r"'org/unheard-of' is not a local folder and could not be had from the hub",
            ("task.text", "txt"): r"no column 'txt' in train, did you mean text\? \(columns there: text, label\)",
            ("training.max_length", 1000): r"1000 tokens asked, but the model reads at most 64",
        }
        for (key, value), message in wrong.items():
            with pytest.raises(UserError, match=message) as error:
                peftkit.run(recipe_of(**{key: value}), tmp_path / "run")
            assert "\n" not in str(error.value)
            assert list(tmp_path.iterdir()) == [], key

    def test_a_target_that_is_not_there_leaves_nothing(self, recipe_of: Any, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="'nothing' matches no module"):
            peftkit.run(recipe_of({"name": "lora", "target_modules": ["nothing"]}), tmp_path / "run")
        assert list(tmp_path.iterdir()) == []

    def test_a_failed_run_leaves_its_record(self, recipe_of: Any, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError):
            peftkit.run(recipe_of(), tmp_path, watchers=[Failing(ZeroDivisionError("a defect"))])
        record = Record.load(tmp_path)
        assert record.status == "failed"
        assert record.error is not None and record.error.startswith("ZeroDivisionError: a defect\n")
        assert record.costs["trainable_parameters"] > 0

    def test_out_of_memory_is_a_status_of_its_own(self, recipe_of: Any, tmp_path: Path) -> None:
        error = RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes"
        )
        with pytest.raises(OutOfMemory, match="out of memory in phase train"):
            peftkit.run(recipe_of(), tmp_path, watchers=[Failing(error)])
        assert Record.load(tmp_path).status == "out-of-memory"

    def test_an_interrupted_run_says_so(self, recipe_of: Any, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt):
            peftkit.run(recipe_of(), tmp_path, watchers=[Failing(KeyboardInterrupt())])
        assert Record.load(tmp_path).status == "interrupted"

    def test_a_finished_run_is_not_overwritten_unasked(self, recipe_of: Any, tmp_path: Path) -> None:
        recipe = recipe_of("head", **{"training.epochs": 0.2})
        first = peftkit.run(recipe, tmp_path)
        with pytest.raises(UserError, match="already holds a finished run; give --overwrite"):
            peftkit.run(recipe, tmp_path)
        assert Record.load(tmp_path) == first
        assert peftkit.run(recipe, tmp_path, overwrite=True).started > first.started

    def test_a_folder_with_other_things_in_it_is_left_alone(self, recipe_of: Any, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("years of work")
        for overwrite in (False, True):
            with pytest.raises(UserError, match="not empty and not a run of peftkit"):
                peftkit.run(recipe_of(), tmp_path, overwrite=overwrite)
        assert (tmp_path / "thesis.tex").read_text() == "years of work"

    def test_a_folder_that_cannot_be_written(self, recipe_of: Any, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match=r"cannot be written|not a folder"):
            peftkit.run(recipe_of(), tmp_path / "file" / "run")
        with pytest.raises(UserError, match="not a folder"):
            peftkit.run(recipe_of(), tmp_path / "file")

    def test_an_adapter_that_reloads_differently_fails_the_run_loudly(
        self, recipe_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import torch

        from peftkit.adapters import Adapter

        load = Adapter.load

        def spoiled(self: Any, base: Any, folder: Path) -> Any:
            model = load(self, base, folder)
            with torch.no_grad():
                next(p for n, p in model.named_parameters() if "modules_to_save" in n).add_(1.0)
            return model

        monkeypatch.setattr(Adapter, "load", spoiled)
        with pytest.raises(PeftkitError, match="loaded again, the adapter gives other logits"):
            peftkit.run(recipe_of(), tmp_path)
        assert Record.load(tmp_path).status == "failed"
