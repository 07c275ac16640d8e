"""After training: the merged model, the exported adapter, the card and the hub say what the run said, and no more."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import peftkit
from peftkit.errors import UserError
from peftkit.interop import Adapters, card_of, export_lora, merge, push, write_card
from peftkit.interop.merging import merged_model
from peftkit.methods import METHODS
from peftkit.model.preparing import prepare
from peftkit.record import Record
from tests.test_cli import told, well
from tests.test_methods import CPU, STEPS, build, logits, train

COMPLETE = [
    name
    for name, method in METHODS.items()
    if not any(field.is_required() for field in method.settings_class.model_fields.values())
]
"""Methods that their name alone says; not the one that takes the name of any registered tuner."""


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory, toys: Any, toy_data: Path) -> Any:
    """``run_of("lora", kind="bert", quantization="4bit")``: the folder of a short finished run, made once."""
    made: dict[str, Path] = {}

    def make(method: Any = "lora", kind: str = "bert", **groups: Any) -> Path:
        key = json.dumps([method, kind, groups], sort_keys=True)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("runs") / "run"
            recipe = {
                "model": {"name": str(toys(kind))} | groups.pop("model", {}),
                "method": method,
                "task": "text-classification",
                "data": str(toy_data),
                "training": {"max_steps": 8, "batch_size": 16, "max_length": 32, "learning_rate": 2e-2},
            }
            peftkit.run(peftkit.Recipe.model_validate(recipe | groups), made[key])
        return made[key]

    return make


# --- merging


@pytest.mark.parametrize("name", COMPLETE)
def test_what_says_it_can_be_merged_can_and_nothing_else(name: str, recipe_of: Any, tmp_path: Path) -> None:
    """The merged model has no part of the adapter left and the adapter model's logits."""
    recipe = recipe_of(name)
    task, method, base = build(recipe)
    model = prepare(method.attach(base, STEPS), recipe.training)
    train(model, method)
    trained = logits(model)
    method.save(model, tmp_path)
    if not method.mergeable:
        assert name == "full" or not_merged_by_peft(model)
        return
    merged, _ = merged_model(recipe, method, task, tmp_path, CPU)
    torch.testing.assert_close(logits(merged), trained, atol=5e-6, rtol=0)
    plain = {key for key, _ in build(recipe)[2].model.named_parameters()}
    assert {key for key, _ in merged.named_parameters()} == plain


def not_merged_by_peft(model: Any) -> bool:
    """Whether peft too refuses to merge."""
    try:
        model.merge_and_unload()
    except (AttributeError, NotImplementedError, ValueError):
        return True
    return False


@pytest.mark.parametrize("kind", ["roberta", "distilbert", "deberta-v2", "gpt2", "llama"])
@pytest.mark.parametrize("bits", ["none", "4bit"])
def test_heads_of_every_form_are_plain_modules_after_merging(
    kind: str, bits: str, recipe_of: Any, tmp_path: Path
) -> None:
    recipe = recipe_of("lora", kind, quantization=bits)
    task, method, base = build(recipe)
    model = prepare(method.attach(base, STEPS), recipe.training)
    train(model, method, steps=4)
    method.save(model, tmp_path / "run")
    merged, found = merged_model(recipe, method, task, tmp_path / "run", CPU)
    assert found == base.bits
    torch.testing.assert_close(logits(merged), logits(model), atol=5e-6, rtol=0)
    merged.save_pretrained(tmp_path / "merged")
    again = type(merged).from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(again), logits(merged), atol=0, rtol=0)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_layer_norms_merge_with_their_head(kind: str, recipe_of: Any) -> None:
    """peft's ln_tuning leaves the head's wrapper in the model, and fails at a head that is a container."""
    from peft import LNTuningConfig, get_peft_model

    from peftkit.interop.merging import _unwrap_heads

    model = get_peft_model(
        build(recipe_of("lora", kind))[2].model,
        LNTuningConfig(target_modules=["LayerNorm"], modules_to_save=["classifier"]),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    before = logits(model)
    _unwrap_heads(model)
    merged = model.merge_and_unload()
    torch.testing.assert_close(logits(merged), before, atol=0, rtol=0)
    assert not [key for key, _ in merged.named_parameters() if "modules_to_save" in key]


def test_a_merged_run_is_an_ordinary_model_with_the_same_scores(run_of: Any, tmp_path: Path) -> None:
    folder, output = run_of("lora"), tmp_path / "merged"
    report = merge(folder, output)
    assert report["logit_difference"] <= 1e-6 and report["exact"]
    assert report["scores"]["before"] == pytest.approx(Record.load(folder).scores, abs=1e-6)
    assert report["scores"]["after"] == pytest.approx(report["scores"]["before"], abs=1e-6)
    assert report["split"] == "test" and report["rows_scored"] == 31 and report["examples_compared"] == 8
    assert json.loads((output / "merge.json").read_text()) == report
    config = json.loads((output / "config.json").read_text())
    assert config["id2label"] == {"0": "class0", "1": "class1", "2": "class2"}
    assert config["dtype"] == "float32" and "quantization_config" not in config
    files = {path.name for path in output.iterdir()}
    assert files >= {"model.safetensors", "config.json", "tokenizer.json", "merge.json"}
    assert not [name for name in files if "adapter" in name]
    assert {path.name for path in tmp_path.iterdir()} == {"merged"}  # nothing half-written beside it


def test_transformers_alone_loads_it(run_of: Any, tmp_path: Path) -> None:
    """Neither peft nor peftkit is there, and the predictions are the run's."""
    folder = run_of("lora")
    merge(folder, tmp_path / "merged")
    text = "word0 word1 word2 word45 word46 word47"
    code = f"""
import sys
sys.modules["peftkit"] = sys.modules["peft"] = None
from transformers import AutoModelForSequenceClassification, AutoTokenizer
model = AutoModelForSequenceClassification.from_pretrained({str(tmp_path / "merged")!r})
tokenizer = AutoTokenizer.from_pretrained({str(tmp_path / "merged")!r})
print(model(**tokenizer({text!r}, return_tensors="pt")).logits[0].tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    trained = peftkit.load(folder)
    inputs = trained.task.processor(text, return_tensors="pt")
    trained.model.eval()
    with torch.no_grad():
        expected = trained.model(**inputs).logits[0]
    torch.testing.assert_close(torch.tensor(json.loads(done.stdout)), expected, atol=1e-5, rtol=0)


def test_a_merged_model_is_the_base_of_another_recipe(run_of: Any, recipe_of: Any, tmp_path: Path) -> None:
    """Its trained head is the new run's head, and an adapter that has learnt nothing gives its logits."""
    merge(run_of("lora"), tmp_path / "merged")
    recipe = recipe_of("lora", model=str(tmp_path / "merged"))
    _, method, base = build(recipe)
    assert base.head == ("classifier",)
    whole = type(base.model).from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(method.attach(base, STEPS)), logits(whole), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_a_4bit_run_merges_into_the_dequantized_base_to_1e_6(kind: str, run_of: Any, tmp_path: Path) -> None:
    report = merge(run_of("lora", kind, quantization={"bits": 4}), tmp_path / "merged")
    assert report["logit_difference"] <= 1e-6 * max(1.0, report["largest_logit"])
    assert report["base"]["merged_into"] == "the dequantized base" and report["exact"]
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert "quantization_config" not in config and config["dtype"] == "float32"


def test_an_8bit_run_says_what_the_merge_costs(run_of: Any, tmp_path: Path) -> None:
    report = merge(run_of("lora", quantization={"bits": 8}), tmp_path / "merged")
    assert not report["exact"]
    assert 1e-6 < report["logit_difference"] < 0.1 * report["largest_logit"]


def test_the_merged_model_is_in_the_bases_dtype(run_of: Any, tmp_path: Path) -> None:
    from safetensors import safe_open

    report = merge(run_of("lora", model={"dtype": "bfloat16"}), tmp_path / "merged")
    with safe_open(tmp_path / "merged" / "model.safetensors", framework="pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.bfloat16}  # noqa: SIM118
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == "bfloat16"
    assert not report["exact"] and report["logit_difference"] < 0.05 * report["largest_logit"]


def test_tied_embeddings_stay_tied(toys: Any, tmp_path: Path) -> None:
    from tests.conftest import write_jsonl

    rows = [{"prompt": f"word{i}", "completion": f"word{i + 1} word{i + 2}"} for i in range(24)]
    for split in ("train", "validation", "test"):
        write_jsonl(tmp_path / f"{split}.jsonl", rows)
    recipe = {
        "model": str(toys("gpt2", "AutoModelForCausalLM")),
        "method": "lora",
        "task": {"name": "text-generation", "prompt": "prompt", "completion": "completion"},
        "data": {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "validation", "test")},
        "training": {"max_steps": 4, "max_length": 32, "learning_rate": 1e-2},
    }
    recipe["data"] = {"source": recipe["data"]}
    peftkit.run(peftkit.Recipe.model_validate(recipe), tmp_path / "run")
    report = merge(tmp_path / "run", tmp_path / "merged")
    assert report["logit_difference"] <= 1e-5
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


@pytest.mark.parametrize("name", ["bottleneck", "prefix-tuning"])
def test_what_cannot_be_merged_names_what_can(name: str, run_of: Any, tmp_path: Path) -> None:
    line = told("merge", run_of(name), "--output", tmp_path / "merged")
    assert f"{name} cannot be merged into the base's weights; those that can: head" in line and "lora" in line
    assert not list(tmp_path.iterdir())


def test_a_full_run_is_merged_already(run_of: Any, tmp_path: Path) -> None:
    assert "nothing to merge: the run's folder is a model already" in told(
        "merge", run_of("full"), "--output", tmp_path / "merged"
    )


def test_a_folder_that_is_taken_is_left_alone(run_of: Any, tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "mine").write_text("mine")
    assert "choose another output folder" in told("merge", run_of("lora"), "--output", tmp_path / "merged")
    assert [path.name for path in tmp_path.rglob("*")] == ["merged", "mine"]
    assert "no such folder" in told("merge", tmp_path / "none", "--output", tmp_path / "other")


def test_the_merge_command_prints_scores_before_and_after(run_of: Any, tmp_path: Path) -> None:
    out = well("merge", run_of("lora"), "--output", tmp_path / "merged")
    assert "accuracy" in out and "→" in out and "largest logit difference" in out


# --- an adapter for another base


@pytest.mark.parametrize(
    "kind, settings, told_so",
    [
        ("bert", {"num_hidden_layers": 1}, r"there is no bert.encoder.layer.1 in it"),
        ("bert", {"hidden_size": 64}, r"has 32 where the model has 64|has 3×32 where the model has 3×64"),
        ("llama", {}, r"there is no bert in it|there is no classifier in it"),
    ],
)
def test_an_adapter_for_another_base_is_told_before_peft_loads_it(
    kind: str, settings: dict[str, int], told_so: str, run_of: Any, toys: Any, tmp_path: Path
) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from peftkit.contracts import Base

    config = AutoConfig.from_pretrained(toys(kind), num_labels=3, **settings)
    other = AutoModelForSequenceClassification.from_config(config)
    folder = run_of("lora")
    before = [name for name, _ in other.named_modules()]
    with pytest.raises(UserError, match=told_so) as error:
        METHODS["lora"](METHODS["lora"].settings_class(name="lora")).load(Base(other, ("classifier",), None), folder)
    assert "\n" not in str(error.value) and str(toys("bert")) in str(error.value)
    assert [name for name, _ in other.named_modules()] == before  # untouched


# --- exporting


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_lora_that_began_in_the_bases_weights_becomes_portable(start: str, run_of: Any, tmp_path: Path) -> None:
    """The exported adapter leaves the base as it is, so that any program can add it, and computes the same."""
    folder = run_of({"name": "lora", "init_lora_weights": start, "rank_pattern": {"layer.0.attention.self.query": 4}})
    report = export_lora(folder, tmp_path / "plain")
    assert report["conversion"] == "difference from its start"
    assert report["logit_difference"] <= 1e-5 * max(1.0, report["largest_logit"])
    assert sorted(set(report["ranks"].values())) == [8, 16]
    config = json.loads((tmp_path / "plain" / "adapter_config.json").read_text())
    assert config["init_lora_weights"] is True and config["r"] == config["lora_alpha"] == 16
    assert report["scores"]["after"] == pytest.approx(report["scores"]["before"], abs=1e-5)


def test_a_plain_lora_is_copied_and_peftkit_loads_it(run_of: Any, tmp_path: Path) -> None:
    folder = run_of("lora")
    assert "lora as LoRA (copied, rank 8)" in well("export", folder, "--lora", "--output", tmp_path / "plain")
    text = "word0 word1 word2"
    assert peftkit.load(tmp_path / "plain").predict([text]) == peftkit.load(folder).predict([text])


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_another_tuner_becomes_lora_with_its_error_measured(kind: str, recipe_of: Any, tmp_path: Path) -> None:
    """LoHa, whose update has a rank of at most r², on a head that is one layer and on one that is several."""
    from types import SimpleNamespace

    from peft import LoHaConfig, PeftModel, get_peft_model

    from peftkit.interop.exporting import _lora_form, _write

    recipe = recipe_of("lora", kind)
    task, _, base = build(recipe)
    model = get_peft_model(
        base.model,
        LoHaConfig(r=2, target_modules=["query", "value"], modules_to_save=["classifier"], init_weights=False),
    )
    trained: Any = SimpleNamespace(
        model=model, recipe=SimpleNamespace(method=SimpleNamespace(name="loha"), model=recipe.model), task=task
    )
    differences = []
    for rank in (1, 2, None):
        how, config, state = _lora_form(trained, tmp_path, rank)
        folder = tmp_path / str(rank)
        folder.mkdir()
        _write(config, state, trained, folder)
        again = PeftModel.from_pretrained(build(recipe, seed=9)[2].model, folder)
        differences.append(float((logits(again) - logits(model)).abs().max()))
        assert how == "singular values" and again.peft_config["default"].peft_type == "LORA"
    assert differences[0] > differences[2] and differences[2] < 2e-3
    assert min(differences[:2]) > differences[2]


def test_a_run_of_another_tuner_is_exported_with_its_scores(run_of: Any, tmp_path: Path) -> None:
    report = export_lora(run_of("vera"), tmp_path / "plain")
    assert report["conversion"] == "singular values" and report["ranks"]
    assert 0 < report["logit_difference"] < 5e-3 * max(1.0, report["largest_logit"])
    assert report["scores"]["before"] == pytest.approx(Record.load(run_of("vera")).scores, abs=1e-6)
    assert report["scores"]["after"] == pytest.approx(report["scores"]["before"], abs=0.05)


@pytest.mark.parametrize("name", ["bottleneck", "prefix-tuning", "full"])
def test_what_has_no_lora_form_names_what_has(name: str, run_of: Any, tmp_path: Path) -> None:
    line = told("export", run_of(name), "--lora", "--output", tmp_path / "plain")
    assert "those that can be converted: lora" in line and name not in line.partition("converted: ")[2]
    assert not list(tmp_path.iterdir())


def test_the_methods_named_as_convertible_are_those_that_peft_can_convert() -> None:
    """VeRA adds to the weight; HiRA and IA³ multiply it, and peft's AdaLoRA layers do not say that they could."""
    from peftkit.interop.exporting import convertible

    found = convertible()
    assert "lora" in found
    assert not {"adalora", "hira", "ia3", "oft", "bottleneck", "prefix-tuning", "full"} & set(found)
    assert "vera" in found or "vera" not in METHODS


def test_dora_is_no_plain_lora(run_of: Any, tmp_path: Path) -> None:
    folder = run_of({"name": "lora", "use_dora": True})
    assert "more than a low-rank update" in told("export", folder, "--lora", "--output", tmp_path / "plain")


def test_impossible_ranks_are_told(run_of: Any, tmp_path: Path) -> None:
    words = ("export", run_of("lora"), "--lora", "--output", tmp_path / "plain")
    assert "between 0 and 1" in told(*words, "--rank", "2.5")
    assert "keeps its rank" in told(*words, "--rank", "4")
    assert "--lora" in told("export", run_of("lora"), "--output", tmp_path / "plain")


# --- the card


def hostile(record: Record) -> Record:
    """The same record with strings that would break a page that takes them as they are."""
    recipe = json.loads(json.dumps(record.recipe))
    recipe["data"]["source"] = "a|b`` <script>alert(1)</script>\n---\nlicense: evil"
    return record.model_copy(update={"recipe": recipe})


def test_the_card_has_the_measured_scores_and_a_valid_metadata_block(run_of: Any) -> None:
    from huggingface_hub import ModelCard

    folder = run_of("lora")
    record = Record.load(folder)
    card = ModelCard(card_of(folder))
    assert card.data.library_name == "peft" and card.data.pipeline_tag == "text-classification"
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == record.scores
    assert {result.dataset_split for result in card.data.eval_results} == {"test"}
    assert card.data.base_model is None and card.data.datasets is None  # both were local folders
    assert f"{record.costs['trainable_parameters']:,}" in card.text
    assert f"| `train` | {record.data['train']['rows']} |" in card.text
    assert record.environment["versions"]["torch"].replace("+", r"\+") in card.text


def test_hub_names_stand_in_the_metadata(run_of: Any, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    folder = copy_with(run_of("lora"), tmp_path, {"model": {"name": "owner/base"}, "data": {"source": "owner/rows"}})
    config = json.loads((folder / "adapter_config.json").read_text()) | {"base_model_name_or_path": "owner/base"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    card = ModelCard(card_of(folder))
    assert card.data.base_model == "owner/base" and card.data.datasets == ["owner/rows"]


def copy_with(run: Path, tmp_path: Path, recipe: dict[str, Any]) -> Path:
    """A copy of a run whose record says it was made with other names."""
    import shutil

    folder = Path(shutil.copytree(run, tmp_path / "copy"))
    record = Record.load(folder)
    changed = {group: record.recipe[group] | fields for group, fields in recipe.items()}
    record.model_copy(update={"recipe": record.recipe | changed}).save(folder)
    return folder


def test_strings_of_the_record_stay_strings(run_of: Any, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    folder = copy_with(run_of("lora"), tmp_path, {})
    hostile(Record.load(folder)).save(folder)
    content = card_of(folder)
    card = ModelCard(content)
    assert "license" not in yaml.safe_load(content.split("\n---\n")[0].removeprefix("---\n"))
    outside = "".join(part for place, part in enumerate(card.text.split("```")) if place % 2 == 0)
    assert "\n---\n" not in outside
    assert all("<script>" not in line or "`" in line.partition("<script>")[0] for line in outside.splitlines())


@pytest.mark.parametrize("groups", [{}, {"quantization": {"bits": 4}}, {"quantization": {"bits": 8}}])
def test_the_cards_code_loads_the_run_with_peft_alone(groups: dict[str, Any], run_of: Any, toys: Any) -> None:
    """Except for the base's folder, which a card does not name."""
    folder = run_of("lora", **groups)
    code = card_of(folder).partition("```python\n")[2].partition("```")[0]
    assert "base = ...  # the folder of the base model; it was not from the hub" in code
    names: dict[str, Any] = {"folder": str(folder)}
    exec(code.replace("base = ...", f"base = {str(toys())!r}"), names)
    inputs = names["processor"]("word0 word1", return_tensors="pt")
    trained = peftkit.load(folder)
    with torch.no_grad():
        torch.testing.assert_close(names["model"].eval()(**inputs).logits, trained.model.eval()(**inputs).logits)


def test_a_written_card_does_not_keep_a_run_from_being_run_again(run_of: Any, tmp_path: Path) -> None:
    from peftkit.output import _check

    folder = copy_with(run_of("lora"), tmp_path, {})
    assert write_card(folder).read_text() == card_of(folder) == well("card", folder)
    _check(folder, overwrite=True)


def test_only_a_finished_run_has_a_card(run_of: Any, tmp_path: Path) -> None:
    folder = copy_with(run_of("lora"), tmp_path, {})
    Record.load(folder).model_copy(update={"status": "interrupted"}).save(folder)
    assert "not a finished run: its record says interrupted" in told("card", folder)
    assert "not a finished run" in told("push", folder, "owner/name")


# --- the hub


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub calls to make a repository and upload small files, and no more; keeps what it was sent."""

    sent: dict[str, Any]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != "Bearer secret":
            return self.answer(401, {"error": "Invalid username or password."})
        if self.path == "/api/repos/create":
            self.sent["created"] = json.loads(body)
            return self.answer(200, {"url": f"http://{self.headers['Host']}/owner/name", "name": "owner/name"})
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if self.path == "/api/models/owner/name/preupload/main":
            names = [file["path"] for file in json.loads(body)["files"]]
            kept = [{"path": name, "uploadMode": "regular", "shouldIgnore": False, "oid": None} for name in names]
            return self.answer(200, {"files": kept})
        if self.path == "/api/models/owner/name/commit/main":
            lines = [json.loads(line) for line in body.splitlines()]
            self.sent["files"] = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            url = f"http://{self.headers['Host']}/owner/name/commit/abc"
            return self.answer(200, {"commitOid": "abc", "commitUrl": url, "success": True})
        return self.answer(404, {"error": f"not expected: {self.path}"})

    def do_GET(self) -> None:
        self.answer(404, {"error": f"not expected: {self.path}"})

    def answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing on standard error."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, Any]]]:
    """A hub on loopback: its address, and what it was sent."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    sent: dict[str, Any] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHub", (Hub,), {"sent": sent}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", sent
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_run_is_pushed_whole_with_its_card(run_of: Any, hub: Any, tmp_path: Path) -> None:
    endpoint, sent = hub
    folder = copy_with(run_of("lora"), tmp_path, {"model": {"name": "owner/base"}})
    config = json.loads((folder / "adapter_config.json").read_text()) | {"base_model_name_or_path": "owner/base"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "model.safetensors").write_text("half")
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert push(folder, "owner/name", private=True, endpoint=endpoint, token="secret") == f"{endpoint}/owner/name"
    assert sent["created"]["visibility"] == "private"
    assert set(sent["files"]) == {path.name for path in before if path.name != ".peftkit"} | {"README.md"}
    for name in ("record.json", "recipe.yaml", "adapter_model.safetensors"):
        assert sent["files"][name] == (folder / name).read_bytes()
    assert sent["files"]["README.md"].decode() == card_of(folder)
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before  # the run is untouched


def test_what_goes_wrong_with_the_hub_is_one_line(
    run_of: Any, hub: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    folder = run_of("lora")
    with pytest.raises(UserError, match=r"refuses 'owner/name': .*401") as error:
        push(folder, "owner/name", endpoint=hub[0], token="wrong")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="is out of reach") as error:
        push(folder, "owner/name", endpoint="http://127.0.0.1:9", token="secret")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"'a b' cannot be a repository") as error:
        push(folder, "a b", endpoint=hub[0], token="secret")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert "no token for the hub" in told("push", folder, "owner/name")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        push(folder, "owner/name", token="secret")


# --- several adapters on one base


def test_adapters_switch_on_one_base_and_back_exactly(run_of: Any) -> None:
    """Each gives what it gives alone, bit for bit, also the first one after the second was asked."""
    folders = [run_of("lora"), run_of({"name": "lora", "r": 4})]
    adapters = Adapters(folders)
    texts = ["word0 word1 word45", "word21 word22 word23 word46"]
    alone = [peftkit.load(folder).predict(texts) for folder in folders]
    assert alone[0] != alone[1]
    for _ in range(2):
        assert list(adapters.predict(texts).values()) == alone
    first = logits(adapters.select(adapters.names[0]).model)
    second = logits(adapters.select(adapters.names[1]).model)
    assert not torch.allclose(first, second, atol=1e-3)
    torch.testing.assert_close(logits(adapters.select(adapters.names[0]).model), first, atol=0, rtol=0)


def test_predict_writes_a_line_for_each_text_and_adapter(run_of: Any) -> None:
    folders = [run_of("lora"), run_of({"name": "lora", "r": 4})]
    out = well("predict", folders[0], "word0 word1", "word20", "--adapter", folders[1])
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["input"] for line in lines] == ["word0 word1"] * 2 + ["word20"] * 2
    assert [line["adapter"] for line in lines] == [str(folder) for folder in folders] * 2  # both are called "run"
    assert lines[0]["label"] == peftkit.load(folders[0]).predict(["word0 word1"])[0]["label"]


@pytest.mark.parametrize(
    "other, why",
    [
        (("bottleneck",), "their kinds of adapter differ (LORA; BOTTLENECK)"),
        (("lora", "roberta"), "their bases differ"),
        (({"name": "lora", "init_lora_weights": "pissa"},), "pissa changes the base that all share"),
        (("bitfit",), "its biases are the base's own"),
        (("full",), "only adapters can share a base"),
    ],
)
def test_adapters_that_cannot_share_a_base_are_told(other: tuple[Any, ...], why: str, run_of: Any) -> None:
    assert why in told("predict", run_of("lora"), "word0", "--adapter", run_of(*other))


def test_adapters_with_other_classes_are_told(run_of: Any, tmp_path: Path) -> None:
    folder = copy_with(run_of("lora"), tmp_path, {})
    config = json.loads((folder / "model_config.json").read_text())
    config["id2label"] |= {"2": "another"}
    (folder / "model_config.json").write_text(json.dumps(config))
    assert "their classes differ" in told("predict", run_of("lora"), "word0", "--adapter", folder)
