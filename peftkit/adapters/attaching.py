"""What every method that lives in a peft adapter shares: attach, save, load, and say what was reached."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from peftkit.adapters.fitting import refuse_other_base
from peftkit.adapters.targets import NO_TARGETS, coverage, resolve_targets
from peftkit.contracts import Base, Method
from peftkit.errors import UserError

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch.nn import Module


class Adapter(Method):
    """A method kept in a peft adapter: `peft_config` is all that most of them have to say.

    The new head is trained and saved beside the adapter through peft's ``modules_to_save``. Injected methods leave
    peft's ``task_type`` out, because its question-answering wrapper drops inputs that the model needs.
    """

    peft_type: ClassVar[str | None] = None
    """peft's name of the adapters that this method alone makes; a folder without a recipe is loaded by it."""
    mergeable: ClassVar[bool] = True

    @abstractmethod
    def peft_config(self, base: Base, total_steps: int) -> PeftConfig:
        """peft's configuration for this base; `attach` fills in ``modules_to_save`` and resolves the targets."""

    def attach(self, base: Base, total_steps: int) -> Module:
        from peft import get_peft_model

        import peftkit.tuners  # noqa: F401 - registers our own tuners with peft

        config = self.peft_config(base, total_steps)
        config.modules_to_save = list(base.head) or None
        if getattr(config, "target_modules", NO_TARGETS) != NO_TARGETS:
            config.target_modules = resolve_targets(config, base)
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
        _refuse_truncated(model, folder)
        return model

    def reach(self, model: Any) -> dict[str, Any]:
        return coverage(model, getattr(self.settings, "target_modules", None))


def one_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _refuse_truncated(model: Any, folder: Path) -> None:
    """peft only warns when tensors are missing from an adapter file; a half-loaded adapter is an error here."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    file = folder / "adapter_model.safetensors"
    with safe_open(file, framework="pt") as opened:
        there = set(opened.keys())
    missing = sorted(set(get_peft_model_state_dict(model, save_embedding_layers=False)) - there)
    if missing:
        raise UserError(f"{file}: truncated: {len(missing)} tensors are missing, e.g. {missing[0]}")
