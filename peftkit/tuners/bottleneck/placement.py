"""Where adapters sit by default: a table of known architectures, and a search of the model's modules for the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn


@dataclass(frozen=True)
class Placement:
    """Regexes on full module names (`re.fullmatch`), after an optional prefix."""

    attention: str
    """Output projections of the attention blocks."""
    feed_forward: str
    """Output projections of the feed-forward blocks."""
    beside: str
    """What `parallel` wraps: the block, its second half with the residual (BERT), or its second projection (BART)."""

    def parts(self) -> list[str]:
        """The three regexes with their optional prefix."""
        return [rf"(.*\.)?{part}" for part in (self.attention, self.feed_forward, self.beside)]

    def regex(self, variant: str) -> str:
        """The regex of the modules that `variant` wraps."""
        parts = {
            "houlsby": f"({self.attention}|{self.feed_forward})",
            "pfeiffer": self.feed_forward,
            "parallel": self.beside,
        }
        return rf"(.*\.)?{parts[variant]}"


_BERT = Placement(
    r"layer\.\d+\.(attention|crossattention)\.output\.dense", r"layer\.\d+\.output\.dense", r"layer\.\d+\.output"
)
_LLAMA = Placement(r"layers\.\d+\.self_attn\.o_proj", r"layers\.\d+\.mlp\.down_proj", r"layers\.\d+\.mlp")
_T5 = Placement(
    r"block\.\d+\.layer\.\d+\.(SelfAttention|EncDecAttention)\.o",
    r"block\.\d+\.layer\.\d+\.DenseReluDense\.wo",
    r"block\.\d+\.layer\.\d+\.DenseReluDense",
)
_BART = Placement(r"layers\.\d+\.(self_attn|encoder_attn)\.out_proj", r"layers\.\d+\.fc2", r"layers\.\d+\.fc2")

PLACEMENTS: dict[str, Placement] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "electra": _BERT,
    "deberta-v2": _BERT,
    "distilbert": Placement(r"layer\.\d+\.attention\.out_lin", r"layer\.\d+\.ffn\.lin2", r"layer\.\d+\.ffn"),
    "modernbert": Placement(r"layers\.\d+\.attn\.Wo", r"layers\.\d+\.mlp\.Wo", r"layers\.\d+\.mlp"),
    "gpt2": Placement(r"h\.\d+\.(attn|crossattention)\.c_proj", r"h\.\d+\.mlp\.c_proj", r"h\.\d+\.mlp"),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma2": _LLAMA,
    "gemma3_text": _LLAMA,
    "t5": _T5,
    "mt5": _T5,
    "bart": _BART,
    "mbart": _BART,
    "vit": Placement(r"layers\.\d+\.attention\.o_proj", r"layers\.\d+\.mlp\.fc2", r"layers\.\d+\.mlp"),
}
"""By `config.model_type`."""


def default_targets(model: nn.Module, model_type: str | None, variant: str) -> str | list[str]:
    """Modules of `model` that `variant` wraps: a regex where one says exactly them, else their full names.

    Raises ValueError where the model shows no transformer blocks of the usual kind.
    """
    modules = dict(walk(model))
    known = PLACEMENTS.get(model_type or "")
    # Names change between releases of transformers: a row that no longer matches gives way to the search.
    if known is not None and all(any(re.fullmatch(part, name) for name in modules) for part in known.parts()):
        return known.regex(variant)
    attention, feed_forward, beside = search(modules)
    wanted = {"houlsby": [attention, feed_forward], "pfeiffer": [feed_forward], "parallel": [beside]}[variant]
    # Without attention it is no transformer, and what looks like a feed-forward block is another thing (Mamba's mixer);
    # a layer with attention but no feed-forward block that we recognise would be left out without a word.
    if not all([attention, *wanted]) or _layers(attention) - _layers(feed_forward):
        raise ValueError(
            f"no place for {variant} adapters found in {type(model).__name__} (model type {model_type!r}): "
            "give target_modules, a list of module names or a regex"
        )
    return _as_regex([name for names in wanted for name in names], modules)


def walk(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Modules by the names they have in the bare model: adapters that are already there are looked through."""
    yield path, module
    for name, child in base_of(module).named_children():
        yield from walk(child, f"{path}.{name}" if path else name)


def base_of(module: nn.Module) -> nn.Module:
    """The base model's own module under any adapters."""
    base: nn.Module = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
    return base


def projection_size(module: nn.Module) -> tuple[int, int] | None:
    """Features in and out of a projection (plain, Conv1D or quantised), None for any other module."""
    base = base_of(module)
    # torch's Linear and the quantised ones (bitsandbytes, GPTQ, AWQ, HQQ) say in/out_features, Conv1D nx and nf.
    for first, second in (("in_features", "out_features"), ("nx", "nf")):
        size = getattr(base, first, None), getattr(base, second, None)
        if isinstance(size[0], int) and isinstance(size[1], int):
            return size[0], size[1]
    return None


def search(modules: dict[str, nn.Module]) -> tuple[list[str], list[str], list[str]]:
    """Names of attention output projections, feed-forward output projections, and what `parallel` wraps.

    - An attention block is a numbered layer's outermost module with "attention" in its class or "attn" in its name;
      its output projection is the last one in it that gives the size another one reads and is no query, key or value.
    - A mixture of experts (a module with a child `experts`) is a feed-forward block as a whole.
    - Otherwise a layer's feed-forward output is its last projection outside attention that undoes an earlier one:
      `width -> inner` (or `2 * inner`, gated in one matrix) followed by `inner -> width`.
    """
    blocks = [name for name, module in modules.items() if _is_attention(name, module)]
    blocks = [name for name in blocks if not _inside(name, blocks)]
    mixtures = [name for name in (_parent(n) for n in modules if n.endswith(".experts")) if not _holds(name, blocks)]
    sizes = {name: size for name, module in modules.items() if (size := projection_size(module)) is not None}
    attention = [output for block in blocks if (output := _attention_output(block, sizes)) is not None]
    layers: dict[str, list[str]] = {}
    for name in sizes:
        numbered = re.match(r"((?:.*\.)?\d+)\.", name)
        if numbered is not None and not _inside(name, blocks + mixtures):
            layers.setdefault(numbered[1], []).append(name)
    feed_forward, beside = list(mixtures), list(mixtures)
    for names in layers.values():
        pair = _feed_forward_pair(names, sizes)
        if pair is None:
            continue
        feed_forward.append(pair[1])
        parent = _parent(pair[1])
        bare = parent == _parent(pair[0]) and _holds(parent, blocks)
        beside.append(pair[1] if bare else parent)
    return attention, feed_forward, beside


def _is_attention(name: str, module: nn.Module) -> bool:
    """Whether the module is an attention block, or part of one, of a numbered layer."""
    if isinstance(module, nn.ModuleList) or re.search(r"(^|\.)\d+\.", name) is None:
        return False
    return "attention" in type(base_of(module)).__name__.lower() or "attn" in name.rpartition(".")[2]


def _attention_output(block: str, sizes: dict[str, tuple[int, int]]) -> str | None:
    """The projection of the attention block that leads back to the hidden states, None if there is none."""
    inside = [name for name in sizes if _inside(name, [block])]
    for name in reversed(inside):
        is_input = re.match(r"(q|k|v|query|key|value)(_|$)", name.rpartition(".")[2]) is not None
        if not is_input and any(sizes[other][0] == sizes[name][1] for other in inside if other != name):
            return name
    return None


def _feed_forward_pair(names: list[str], sizes: dict[str, tuple[int, int]]) -> tuple[str, str] | None:
    """First and last projection of a feed-forward block among a layer's projections, None if there is no block."""
    for last in reversed(range(len(names))):
        inner, width = sizes[names[last]]
        for first in names[:last]:
            if sizes[first] in ((width, inner), (width, 2 * inner)):
                return first, names[last]
    return None


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _inside(name: str, roots: list[str]) -> bool:
    """Whether the module `name` lies below one of `roots`."""
    return any(name.startswith(root + ".") for root in roots)


def _holds(root: str, names: list[str]) -> bool:
    """Whether one of the modules `names` lies below `root`."""
    return any(name.startswith(root + ".") for name in names)


def _layers(names: list[str]) -> set[str]:
    """The layers that the modules `names` lie in, by their outermost number."""
    return {match[0] for name in names if (match := re.match(r"(?:.*?\.)?\d+(?=\.)", name)) is not None}


def _as_regex(names: list[str], modules: dict[str, nn.Module]) -> str | list[str]:
    """One regex for `names` with the numbers left open, or the names where that would match other modules too."""
    patterns = {re.sub(r"(?<=\.)\d+(?=\\?\.|$)|^\d+", lambda _: r"\d+", name.replace(".", r"\.")) for name in names}
    regex = "(" + "|".join(sorted(patterns)) + ")"
    matched = {name for name in modules if re.fullmatch(regex, name)}
    return regex if matched == set(names) else sorted(names)
