"""The tuner: puts bottleneck adapters into a model and takes them out again."""

from __future__ import annotations

import inspect
import re
from typing import Any, ClassVar

from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from peftkit.tuners.bottleneck.config import BottleneckConfig
from peftkit.tuners.bottleneck.kronecker import shared_rule
from peftkit.tuners.bottleneck.layer import (
    NOT_MERGEABLE,
    AfterModule,
    BesideModule,
    BesidePair,
    BesideResidual,
    BottleneckLayer,
)
from peftkit.tuners.bottleneck.placement import base_of, default_targets, projection_size, walk


class BottleneckModel(BaseTuner):
    """A model with bottleneck adapters (`BottleneckConfig`), made by `peft.get_peft_model`.

    Several adapters can live in one model; those active together act one after the other (`houlsby`, `pfeiffer`) or
    are summed (`parallel`).
    """

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLayer
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}  # peft's table knows suffixes only, see placement.py

    def _prepare_adapter_config(self, peft_config: BottleneckConfig, model_config: dict[str, Any]) -> BottleneckConfig:
        """Write the default placement into `target_modules`, so that a saved adapter says where it sits."""
        if peft_config.target_modules is None:
            peft_config.target_modules = default_targets(
                self.model, model_config.get("model_type"), peft_config.variant
            )
        return peft_config

    def _check_new_adapter_config(self, config: BottleneckConfig) -> None:
        """Refuse adapters after and beside blocks in one model: the wrapped modules lie inside each other."""
        super()._check_new_adapter_config(config)
        variants = {other.variant for other in self.peft_config.values()}
        if "parallel" in variants and len(variants) > 1:
            raise ValueError(
                f"adapters of the variants {', '.join(sorted(variants))} cannot share a model: "
                "allowed is parallel alone, or houlsby and pfeiffer"
            )

    @staticmethod
    def _check_target_module_exists(peft_config: BottleneckConfig, key: str) -> Any:
        """peft's matching, with `layers_to_transform` obeyed for a regex too (peft does so for lists alone)."""
        found = BaseTuner._check_target_module_exists(peft_config, key)
        if not found or peft_config.layers_to_transform is None:
            return found
        wanted = peft_config.layers_to_transform
        layer = re.search(r"(?:^|\.)(\d+)\.", key)
        return layer is not None and int(layer[1]) in ([wanted] if isinstance(wanted, int) else wanted)

    def _create_and_replace(
        self,
        peft_config: BottleneckConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        **kwargs: Any,
    ) -> None:
        """Add the adapter at `target`, wrapping it unless it is wrapped already."""
        if isinstance(target, BottleneckLayer):
            target.update_layer(adapter_name, peft_config, self._rule(adapter_name, peft_config))
            return
        width = self._width(target, current_key)
        peft_config.units(width)  # refuses before anything is changed
        if peft_config.variant == "parallel":
            layer = _beside(target, parent, current_key, width)
        else:
            layer = AfterModule(target, width)
        layer.update_layer(adapter_name, peft_config, self._rule(adapter_name, peft_config))
        self._replace_module(parent, target_name, layer, target)

    def _rule(self, adapter_name: str, peft_config: BottleneckConfig) -> nn.Parameter | None:
        """What all layers of the adapter share, made with the first of them; None where they share nothing."""
        if peft_config.phm_dim is None:
            return None
        rules: dict[str, nn.Parameter] = self.__dict__.setdefault("_rules", {})  # no module of its own: layers hold it
        if adapter_name not in rules:
            rules[adapter_name] = shared_rule(peft_config.phm_dim)
        return rules[adapter_name]

    def _width(self, target: nn.Module, key: str) -> int:
        """Size of the hidden states that `target` gives out. Raises ValueError where nothing says it."""
        modules = dict(walk(target))
        sizes = [size for size in map(projection_size, modules.values()) if size is not None]
        if sizes and "experts" not in modules:
            return sizes[-1][1]
        # Experts are packed into one parameter, and the router's output is no hidden state: ask the config.
        width = getattr(getattr(self.model, "config", None), "hidden_size", None)
        if not isinstance(width, int):
            raise ValueError(f"target module {key} ({type(target).__name__}): no projection in it shows a hidden size")
        return width

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        """Put `new_module` in the place of `child`.

        peft's own version copies `.weight` from one to the other; ours wraps and unwraps whole modules (blocks,
        classification heads), which have none, and makes adapters on the right device in the first place.
        """
        if isinstance(child, BottleneckLayer):
            child.release()
        setattr(parent, child_name, new_module)

    def _check_merge_allowed(self) -> None:
        """Raise ValueError: the adapters cannot become part of the base's weights."""
        raise ValueError(NOT_MERGEABLE)


def _beside(target: nn.Module, parent: nn.Module, key: str, width: int) -> BottleneckLayer:
    """Wrap what `parallel` targets: by its own shape, not by the model's name.

    Raises ValueError for a module beside which no adapter can sit.
    """
    size = projection_size(target)
    if size is not None:
        entrances = [
            child for child in parent.children() if child is not target and projection_size(child) == size[::-1]
        ]
        if len(entrances) != 1:
            raise ValueError(
                f"target module {key}: parallel adapters sit beside a feed-forward block; allowed is the block or, "
                f"of a block of two projections, the second (here {len(entrances)} could be the first)"
            )
        return BesidePair(target, width, entrances[0])
    if "input_tensor" in inspect.signature(base_of(target).forward).parameters:
        return BesideResidual(target, width)
    sizes = [inner for inner in map(projection_size, dict(walk(target)).values()) if inner is not None]
    if sizes and sizes[0][0] != width:
        raise ValueError(
            f"target module {key}: parallel adapters sit beside a block whose input and output have the same size, "
            f"here {sizes[0][0]} and {width}"
        )
    return BesideModule(target, width)
