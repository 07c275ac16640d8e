"""What every method that lives in a peft adapter shares: attach, save, load, and say what was reached."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from peftkit.adapters.fitting import WEIGHTS_FILE, refuse_other_base
from peftkit.adapters.targets import NO_TARGETS, coverage, resolve_targets
from peftkit.contracts import Base, Method
from peftkit.errors import UserError

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor
    from torch.nn import Module


class Adapter(Method):
    """A method kept in a peft adapter: `peft_config` is all that most of them have to say.

    The new head is trained and saved beside the adapter through peft's ``modules_to_save``. Injected methods leave
    peft's ``task_type`` out, because its question-answering wrapper drops inputs that the model needs.
    """

    peft_type: ClassVar[str | None] = None
    """peft's name of the adapters that this method alone makes; a folder without a recipe is loaded by it."""
    mergeable: ClassVar[bool] = True
    planned: PeftConfig | None = None
    """What `plan` gave for the base before any adapter was in it; a mixture's, where this method is a part of one."""
    others: frozenset[int] = frozenset()
    """Identities of the tensors that other parts of a mixture have put into the base: not this adapter's to save."""

    @abstractmethod
    def peft_config(self, base: Base, total_steps: int) -> PeftConfig:
        """peft's configuration for this base; `attach` fills in ``modules_to_save`` and resolves the targets."""

    def plan(self, base: Base, total_steps: int) -> PeftConfig:
        """The whole configuration for this base, its targets resolved; nothing is attached."""
        import peftkit.tuners  # noqa: F401 - registers our own tuners with peft

        config = self.peft_config(base, total_steps)
        config.modules_to_save = list(base.head) or None
        if getattr(config, "target_modules", NO_TARGETS) != NO_TARGETS:
            config.target_modules = resolve_targets(config, base)
        return config

    def attach(self, base: Base, total_steps: int) -> Module:
        from peft import get_peft_model

        config = self.planned or self.plan(base, total_steps)
        try:
            model: Module = get_peft_model(base.model, config)
        except (ValueError, TypeError, AttributeError, NotImplementedError) as error:
            kind = base.model.config.model_type
            message = f"{self.settings.name} cannot be attached to a {kind} model: {one_line(error)}"
            raise UserError(message, ("method",)) from error
        return model

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(str(folder), save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # peft's empty form of a model card

    def load(self, base: Base, folder: Path) -> Module:
        from peft import PeftModel

        import peftkit.tuners  # noqa: F401 - registers our own tuners with peft

        refuse_other_base(base, folder)
        try:
            model: Module = PeftModel.from_pretrained(base.model, str(folder))
        except (RuntimeError, ValueError, OSError) as error:
            raise UserError(f"{folder}: the adapter does not fit this base model: {one_line(error)}") from error
        except KeyError as error:  # a tensor of the head, or of a prompt, without which peft cannot go on
            raise UserError(f"{folder / WEIGHTS_FILE}: truncated: there is no {error.args[0]} in it") from error
        _refuse_truncated(own_state(model, self.others), folder)
        return model

    def merged(self, model: Any) -> Module:
        base: Module = model.merge_and_unload(safe_merge=True)
        return base

    def reach(self, model: Any) -> dict[str, Any]:
        return coverage(model, getattr(self.settings, "target_modules", None))


def one_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def own_state(model: Any, others: frozenset[int] = frozenset()) -> dict[str, Tensor]:
    """What peft would save of `model`, by the names in an adapter file, without the tensors that are `others`."""
    from peft import get_peft_model_state_dict

    everything = model.state_dict(keep_vars=True)  # the tensors themselves, to be told apart by their identity
    state = get_peft_model_state_dict(model, state_dict=everything, save_embedding_layers=False)
    return {name: tensor for name, tensor in state.items() if id(tensor) not in others}


def _refuse_truncated(wanted: Mapping[str, Tensor], folder: Path) -> None:
    """peft only warns when tensors are missing from an adapter file; a half-loaded adapter is an error here."""
    from safetensors import safe_open

    file = folder / WEIGHTS_FILE
    with safe_open(file, framework="pt") as opened:
        there = set(opened.keys())
    missing = sorted(set(wanted) - there)
    if missing:
        raise UserError(f"{file}: truncated: {len(missing)} tensors are missing, e.g. {missing[0]}")
