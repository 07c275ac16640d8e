"""What was trained comes back: saved, then loaded into a fresh base, it gives the same logits; or an error says why."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from peftkit.contracts import Base, Method, Task
from peftkit.data import Encoded
from peftkit.errors import UserError
from peftkit.methods import METHODS
from peftkit.model import load_base
from peftkit.model.logits import logits_of
from peftkit.model.preparing import prepare
from peftkit.output import TOLERANCE
from peftkit.reading import read_rows
from peftkit.recipe import Recipe, check
from peftkit.tasks import TASKS
from peftkit.training import make_accelerator
from tests.toy_tasks import TOYS

CPU = torch.device("cpu")
DECODER, ENCODER_DECODER = "AutoModelForCausalLM", "AutoModelForSeq2SeqLM"
PLACES = {
    "text-classification": ("bert", "roberta", "deberta-v2", "modernbert", "gpt2", "llama", "qwen3", "t5", "bart"),
    "text-generation": ("gpt2", "llama", "qwen3"),
    "summarization": ("t5", "bart"),
    "question-answering": ("bert", "modernbert"),
    "multiple-choice": ("bert", "roberta"),
    "token-classification": ("deberta-v2",),
    "image-classification": ("vit",),
}
"""Architectures by the task that they are tried with."""
HEADS = {
    ("text-classification", "deberta-v2"): ("classifier", "pooler"),
    ("text-classification", "modernbert"): ("classifier", "head"),
    ("text-classification", "t5"): ("classification_head",),
    ("text-classification", "bart"): ("classification_head",),
    ("text-classification", "qwen3"): ("score",),
    ("question-answering", "bert"): ("qa_outputs",),
    ("question-answering", "modernbert"): ("classifier", "head"),
    ("multiple-choice", "bert"): ("classifier",),
    ("image-classification", "vit"): ("classifier",),
    ("text-generation", "gpt2"): (),
    ("summarization", "t5"): (),
}
PLANS = [
    *(("lora", bits, dtype) for bits in ("none", "4bit") for dtype in ("float32", "bfloat16")),
    ("lora", "8bit", "float32"),
    *(("bottleneck", bits, dtype) for bits, dtype in (("none", "float32"), ("8bit", "bfloat16"), ("4bit", "float32"))),
    *(("ia3", bits, "float32") for bits in ("none", "4bit")),
    *(("prefix-tuning", bits, dtype) for bits, dtype in (("none", "float32"), ("4bit", "bfloat16"))),
]
"""Method, quantization and precision of the base, for every architecture that classifies texts."""
SHORT_PLANS = [
    ("lora", "none", "float32"),
    ("lora", "4bit", "bfloat16"),
    ("bottleneck", "8bit", "bfloat16"),
    ("prefix-tuning", "none", "float32"),
]
"""The same for the other tasks."""
NO_PREFIX = {"deberta-v2", "modernbert", "vit"}
"""Architectures whose attention takes no keys and values from outside."""


def takes(method: str, task: str, kind: str) -> bool:
    """Whether the method can be attached there; where it cannot, other tests hold it to a line that says so."""
    if method != "prefix-tuning":
        return True
    return kind not in NO_PREFIX and (kind not in ("t5", "bart") or task == "summarization")


EVERYWHERE = [
    (task, kind, *plan)
    for task, kinds in PLACES.items()
    for kind in kinds
    for plan in (PLANS if task == "text-classification" else SHORT_PLANS)
    if takes(plan[0], task, kind)
]


@dataclass
class Case:
    """A recipe over a toy, what it reads, and how to build its parts again."""

    recipe: Recipe
    task: Task
    method: Method
    rows: Encoded
    accelerator: Any

    def base(self, seed: int) -> Base:
        return load_base(self.recipe, self.task, CPU, seed=seed)

    def logits(self, model: Any) -> torch.Tensor:
        return logits_of(model, self.task.collate(self.rows.examples[:6]), self.accelerator)

    def trained(self, steps: int = 4) -> Any:
        """The model after some optimizer steps on one batch."""
        model: Any = prepare(self.method.attach(self.base(seed=0), steps), self.recipe.training).train()
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trainable, lr=1e-2)
        batch = self.task.collate(self.rows.examples[:6])
        for _ in range(steps):
            with self.accelerator.autocast():
                self.task.loss(model(**batch.inputs), batch).backward()
            optimizer.step()
            optimizer.zero_grad()
        return model


def case(folder: Path, task: str, method: Any, bits: str = "none", dtype: str = "float32") -> Case:
    toy = TOYS[task]
    recipe = check(
        {
            "model": {"name": str(folder), "dtype": dtype},
            "quantization": bits,
            "method": method,
            "task": toy.task,
            "data": "given",
        },
        {},
    )
    which, how = TASKS[recipe.task.name](recipe.task), METHODS[recipe.method.name](recipe.method)
    rows, _ = read_rows(recipe, how, which, {"train": toy.rows(12, 0), "validation": toy.rows(4, 100)})
    return Case(recipe, which, how, rows["train"], make_accelerator(recipe, folder))


def saved_by(task: str) -> str:
    """The class that a toy base for the task is saved as: a language model brings its head along."""
    return {"text-generation": DECODER, "summarization": ENCODER_DECODER}.get(task, "AutoModel")


def assert_comes_back(one: Case, model: Any, folder: Path) -> Any:
    """Saves `model` and loads it into a base made with another seed, which must be another model before."""
    one.method.save(model, folder)
    trained = one.logits(model)
    fresh = one.base(seed=99)
    scale = max(1.0, float(trained.abs().max()))
    assert float((one.logits(fresh.model) - trained).abs().max()) > 1e-2 * scale
    again = one.method.load(fresh, folder)
    assert float((one.logits(again) - trained).abs().max()) <= TOLERANCE[one.recipe.model.dtype] * scale
    return again


@pytest.mark.parametrize("task, kind, method, bits, dtype", EVERYWHERE)
def test_an_adapter_in_a_fresh_base_gives_the_same_logits(
    task: str, kind: str, method: str, bits: str, dtype: str, toys: Any, tmp_path: Path
) -> None:
    settings = {"name": method, "num_virtual_tokens": 4} if method == "prefix-tuning" else method
    one = case(toys(kind, saved_by(task)), task, settings, bits, dtype)
    assert_comes_back(one, one.trained(), tmp_path)


@pytest.mark.parametrize("task, kind", HEADS)
def test_all_that_is_new_is_the_head_and_is_saved(task: str, kind: str, toys: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    one = case(toys(kind, saved_by(task)), task, "lora")
    base = one.base(seed=0)
    assert base.head == HEADS[task, kind]
    new = {f"base_model.model.{part}.{name}" for part in base.head for name in dict(part_of(base, part))}
    one.method.save(one.method.attach(base, 4), tmp_path)
    assert new == {name for name in load_file(tmp_path / "adapter_model.safetensors") if ".lora_" not in name}


def part_of(base: Base, part: str) -> Any:
    return base.model.get_submodule(part).named_parameters()


def without(file: Path, place: int) -> str:
    """Takes the tensor at a place in the order of the names out of a file; its name."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(file)
    lost = sorted(tensors)[place]
    del tensors[lost]
    save_file(tensors, file, metadata={"format": "pt"})
    return lost


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize(
    "method", ["lora", "adalora", "bottleneck", "ia3", "vera", "prefix-tuning", "head", "bitfit", "full"]
)
def test_a_file_without_one_of_its_tensors_is_an_error(method: str, place: int, toys: Any, tmp_path: Path) -> None:
    one = case(toys("bert"), "text-classification", method)
    one.method.save(one.method.attach(one.base(seed=0), 20), tmp_path)
    without(next(tmp_path.glob("*.safetensors")), place)
    with pytest.raises(UserError, match="truncated: ") as error:
        one.method.load(one.base(seed=1), tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_file_that_was_cut_off_is_an_error(method: str, toys: Any, tmp_path: Path) -> None:
    one = case(toys("bert"), "text-classification", method)
    one.method.save(one.method.attach(one.base(seed=0), 20), tmp_path)
    file = next(tmp_path.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"cannot be read, .* is damaged or cut off"):
        one.method.load(one.base(seed=1), tmp_path)


def test_a_base_that_was_cut_off_is_told_in_one_line(toys: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(toys("bert"), tmp_path / "base")
    one = case(folder, "text-classification", "lora")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match="the model cannot be loaded: ") as error:
        one.base(seed=0)
    assert "\n" not in str(error.value)


class TestVocabulary:
    """Tokens that were added to a tokenizer, and tied weights."""

    def base(self, toys: Any, folder: Path, kind: str, auto_class: str, *, resized: bool, pad: bool = False) -> Path:
        """A toy whose tokenizer has learnt two tokens more, its model too where it was `resized`."""
        import transformers

        toy = toys(kind, auto_class)
        tokenizer = transformers.AutoTokenizer.from_pretrained(toy)
        tokenizer.add_special_tokens({"pad_token": "<pad>"} if pad else {"extra_special_tokens": ["<user>", "<end>"]})
        model = getattr(transformers, auto_class).from_pretrained(toy)
        if resized:
            transformers.set_seed(7)
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    def rows(self, text: str) -> dict[str, Any]:
        rows = [{"prompt": f"word{i} word2", "completion": "word3"} for i in range(8)]
        return {"train": [*rows, {"prompt": text, "completion": "word4"}], "validation": rows[:2]}

    def read(self, folder: Path, rows: dict[str, Any]) -> Any:
        recipe = check({"model": str(folder), "method": "lora", "task": "text-generation", "data": "given"}, {})
        which, how = TASKS[recipe.task.name](recipe.task), METHODS[recipe.method.name](recipe.method)
        return read_rows(recipe, how, which, rows)

    def test_a_token_without_an_embedding_is_told_with_its_row(self, toys: Any, tmp_path: Path) -> None:
        folder = self.base(toys, tmp_path, "gpt2", DECODER, resized=False)
        told = r"split train, row 9: holds '<user>', token 65, for which the model's embedding has no row: resize"
        with pytest.raises(UserError, match=told) as error:
            self.read(folder, self.rows("<user> word1"))
        assert error.value.key == ("model", "name") and "\n" not in str(error.value)

    def test_one_that_no_row_holds_is_let_be(self, toys: Any, tmp_path: Path) -> None:
        folder = self.base(toys, tmp_path, "gpt2", DECODER, resized=False)
        assert len(self.read(folder, self.rows("word5 word1"))[0]["train"]) == 9

    def test_one_in_a_target_is_told_too(self, toys: Any, tmp_path: Path) -> None:
        folder = self.base(toys, tmp_path, "bart", ENCODER_DECODER, resized=False)
        recipe = check({"model": str(folder), "method": "lora", "task": "summarization", "data": "given"}, {})
        which, how = TASKS[recipe.task.name](recipe.task), METHODS[recipe.method.name](recipe.method)
        rows = [{"text": "word1", "summary": "word2"}, {"text": "word1", "summary": "word2 <end>"}]
        columns = which.columns()
        rows = [{columns["text"]: row["text"], columns["text_target"]: row["summary"]} for row in rows]
        with pytest.raises(UserError, match=r"split train, row 2: holds '<end>', token 66"):
            read_rows(recipe, how, which, {"train": rows, "validation": rows[:1]})

    def test_padding_without_an_embedding_is_told(self, toys: Any, tmp_path: Path) -> None:
        folder = self.base(toys, tmp_path, "gpt2", DECODER, resized=False, pad=True)
        with pytest.raises(UserError, match="the tokenizer pads with '<pad>', token 65, for which"):
            self.read(folder, self.rows("word1"))

    @pytest.mark.parametrize("method", ["lora", "bottleneck", "full"])
    @pytest.mark.parametrize(
        "task, kind, auto_class",
        [
            ("text-generation", "gpt2", DECODER),
            ("summarization", "t5", ENCODER_DECODER),
            ("summarization", "bart", ENCODER_DECODER),
            ("text-classification", "bart", ENCODER_DECODER),
        ],
    )
    def test_a_resized_base_comes_back_with_its_weights_tied(
        self, method: str, task: str, kind: str, auto_class: str, toys: Any, tmp_path: Path
    ) -> None:
        one = case(self.base(toys, tmp_path / "base", kind, auto_class, resized=True), task, method)
        model = one.trained()
        again = assert_comes_back(one, model, tmp_path)
        for found in (model, again):
            embedding, output = found.get_input_embeddings(), found.get_output_embeddings()
            assert embedding.weight.shape[0] == 67
            assert output is None or output.weight is embedding.weight

    @pytest.mark.parametrize("targets", [["wte"], ["wte", "c_attn"]])
    def test_an_adapter_of_a_tied_embedding_comes_back(self, targets: list[str], toys: Any, tmp_path: Path) -> None:
        folder = self.base(toys, tmp_path / "base", "gpt2", DECODER, resized=True)
        one = case(folder, "text-generation", {"name": "lora", "target_modules": targets})
        assert_comes_back(one, one.trained(), tmp_path)
