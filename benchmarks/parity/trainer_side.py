"""transformers.Trainer + peft as their documentation shows them: what users have today, to set peftkit beside.

The tasks are in ``guides.py``; nothing of peftkit is used here. What a user would not write is in `Ordered`: batches
come in a given order, and the loss of every step is kept as it is (Trainer's log rounds it to four decimals).
"""

from __future__ import annotations

import json
import math
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import transformers
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch.utils.data import DataLoader
from transformers import (
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

Row = Mapping[str, Any]
Features = Mapping[str, list[Any]]


@dataclass(frozen=True)
class Settings:
    """What both sides share: base, adapter, data order and optimizer."""

    model: str
    """Folder of the base."""
    target_modules: Sequence[str]
    steps: int
    batch_size: int
    learning_rate: float
    max_length: int
    warmup_ratio: float = 0.06
    r: int = 8
    lora_alpha: int = 16
    eval_batch_size: int = 32
    stride: int = 0
    """Tokens that two windows of a context share, where contexts go in windows."""

    @property
    def warmup_steps(self) -> int:
        """Steps in which the learning rate rises, a started one counted whole."""
        return math.ceil(self.steps * self.warmup_ratio)


@dataclass(frozen=True)
class Outcome:
    """One run of one side."""

    start: dict[str, torch.Tensor]
    """What is trained (adapter and head), by name, before the first step."""
    losses: list[float]
    """By optimizer step."""
    score: float


class Guided(ABC):
    """A task as its guide in transformers' documentation has it, for one base and one set of training rows."""

    auto_class: ClassVar[str]
    labels: ClassVar[list[str]] = ["labels"]
    adapter: ClassVar[dict[str, Any]]
    """What LoraConfig is told of the task."""

    def __init__(self, settings: Settings, rows: Sequence[Row]) -> None:
        self.settings = settings
        self.tokenizer = AutoTokenizer.from_pretrained(settings.model)
        self.classes = self.find_classes(rows)

    def find_classes(self, rows: Sequence[Row]) -> list[str]:
        """Class names in the order of the head's outputs; none without a classification head."""
        return []

    @abstractmethod
    def encode(self, rows: Sequence[Row]) -> Features:
        """Model inputs and labels, a list by name."""

    def collator(self) -> Any:
        """Makes a batch of features."""
        return DataCollatorWithPadding(self.tokenizer)

    @abstractmethod
    def score(self, trainer: Trainer, rows: Sequence[Row]) -> float:
        """The task's score on rows that were not trained on."""

    def model(self) -> torch.nn.Module:
        """The base with a fresh head and a fresh adapter."""
        head = {"num_labels": len(self.classes)} if self.classes else {}
        base = getattr(transformers, self.auto_class).from_pretrained(self.settings.model, dtype=torch.float32, **head)
        config = LoraConfig(
            r=self.settings.r,
            lora_alpha=self.settings.lora_alpha,
            lora_dropout=0.0,
            target_modules=list(self.settings.target_modules),
            **self.adapter,
        )
        return get_peft_model(base, config)


class Ordered(Trainer):  # type: ignore[misc]
    """Trainer with batches in a given order, and every step's loss kept unrounded."""

    def __init__(self, batches: Sequence[Sequence[int]], **given: Any) -> None:
        super().__init__(**given)
        self.batches = [list(batch) for batch in batches]
        self.losses: list[float] = []

    def get_train_dataloader(self) -> DataLoader:
        return DataLoader(self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator)

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **given: Any) -> Any:
        found = super().compute_loss(model, inputs, return_outputs=return_outputs, **given)
        if model.training:
            self.losses.append((found[0] if return_outputs else found).item())
        return found


def train(
    task: Guided,
    train_rows: Sequence[Row],
    test_rows: Sequence[Row],
    batches: Sequence[Sequence[int]],
    seed: int,
) -> Outcome:
    """Trains on `batches`, row numbers by optimizer step, and scores. Raises ValueError where a row is in pieces."""
    settings = task.settings
    rows = dataset(task.encode(train_rows))
    if len(rows) != len(train_rows):
        raise ValueError(f"{len(train_rows)} rows became {len(rows)} examples; the order would not be the same")
    set_seed(seed)
    model = task.model()
    start = trained_weights(model)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=settings.steps,
            per_device_train_batch_size=settings.batch_size,
            per_device_eval_batch_size=settings.eval_batch_size,
            learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
            lr_scheduler_type="linear",
            label_names=task.labels,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
            seed=seed,
        )
        collator = task.collator()
        trainer = Ordered(batches, model=model, args=arguments, train_dataset=rows, data_collator=collator)
        trainer.remove_callback(PrinterCallback)  # its summary stands in the way of ours
        trainer.train()
        return Outcome(start, trainer.losses, task.score(trainer, test_rows))


def trained_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of what is trained, by name."""
    return {name: weight.detach().cpu().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def dataset(features: Features) -> Dataset:
    """Features as datasets holds them."""
    return Dataset.from_dict(dict(features))


def without_dropout(base: str | Path, folder: Path) -> Path:
    """The base in `folder` with every dropout of its config at 0; its other files are links."""
    folder.mkdir(parents=True)
    for file in Path(base).resolve().iterdir():
        (folder / file.name).symlink_to(file)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config | {key: 0.0 for key in config if is_dropout(key)}))
    return folder


def is_dropout(key: str) -> bool:
    """Whether a field of a config is a dropout: ``hidden_dropout_prob``, ``attention_dropout``, ``embd_pdrop``."""
    return "dropout" in key or key.endswith("pdrop")
