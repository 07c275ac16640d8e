"""Which methods go together, found by trying all pairs of those below; known without loading peft or torch.

Tried were attaching, what is trained, training, saving, and loading into a fresh base with and without peftkit, on toys
of BERT and Llama. Two adapters in one layer are one around the other; what is refused here fails at one of these
steps, or would train something in vain.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peftkit.mixtures.settings import MixtureSettings

BIASES = "bitfit"
NORMS = "ln-tuning"
LAYERS = ("lora", "adalora", "vera", "oft", "miss", "ia3")
"""Methods that put something into linear layers, and by default into the same ones."""
PROMPTS = ("prefix-tuning", "prompt-tuning")
TOKENS = "trainable-tokens"
TRIED = (BIASES, NORMS, "bottleneck", *LAYERS, *PROMPTS, TOKENS)
"""Methods of which all pairs were tried."""
INSIDE_OUT = {"vera": 1, "lora": 2, "adalora": 4}
"""What is attached when, where it matters, others in between. VeRA goes into bare layers only: peft 0.21.2 takes the
sizes of its shared matrices from layers that no adapter is around. LoRA's 8-bit layer asks the one below for what only
a bare one has. AdaLoRA counts ranks by the names of its layers, which one around them would change."""
PLAIN_STARTS = (True, False, "gaussian")
"""Values of ``init_lora_weights`` that leave the base's own weights alone."""


def attaching_order(settings: MixtureSettings) -> list[int]:
    """Places of the parts in the order in which they are attached.

    What trains the base's biases comes first, because peft unfreezes none in a model that holds an adapter; virtual
    tokens come last, because peft adds them in the outermost model's forward pass, and so do trained tokens, which peft
    looks for in the file of every adapter loaded after them. In between `INSIDE_OUT` decides, and
    where it does not, the recipe's list.
    """

    def rank(place: int) -> int:
        part = settings.parts[place]
        if _trains_biases(part):
            return 0
        return 5 if part.name in (*PROMPTS, TOKENS) else INSIDE_OUT.get(part.name, 3)

    return sorted(range(len(settings.parts)), key=rank)


def unfit_for(bits: int | None, names: Collection[str]) -> str | None:
    """Why methods of these names cannot be together on a base of so many bits, and what would work."""
    if bits == 8 and {"vera", "lora"} <= {*names}:
        return (
            "vera and lora do not go together in 8 bits: both go into bare layers only there; "
            "use quantization: 4bit or none, or vera with oft"
        )
    return None


def refusals(settings: MixtureSettings) -> Iterator[tuple[int | None, str]]:
    """Why these parts cannot go together, with what would work: the place of the part to change, if it is one."""
    names = [part.name for part in settings.parts]
    if len(names) > 2:
        yield None, f"{len(names)} methods in a list; a mixture is of two: of {', '.join(names)} leave out all but two"
        return
    alone = [(place, reason) for place, part in enumerate(settings.parts) for reason in _alone(part)]
    yield from alone
    if not alone and (apart := _together(settings.parts)):
        yield None, f"{names[0]} and {names[1]} do not go together: {apart}"


def _alone(part: Any) -> Iterator[str]:
    """What keeps a method out of any mixture."""
    if part.name == "full":
        yield f"full trains every weight and leaves nothing to others; use full alone, or one of {_told(TRIED)}"
    elif part.name == "head":
        yield f"the head is trained beside every method; leave head out, or use one of {_told(TRIED)}"
    elif part.name not in TRIED:
        yield f"{part.name} has not been tried beside another method; those that have: {_told(TRIED)}"
    elif (start := getattr(part, "init_lora_weights", True)) not in PLAIN_STARTS:
        yield (
            f"init_lora_weights: {start} takes something from the base or the data at the start, which is not defined "
            "beside another method; use true or gaussian"
        )


def _together(parts: Sequence[Any]) -> str | None:
    """What keeps two methods apart that each can be in a mixture, and what would work."""
    names = [part.name for part in parts]
    if names[0] == names[1]:
        return f"it is the same method twice; give it once, or {names[0]} with another"
    if all(name in PROMPTS for name in names):
        return f"only one can put something before the text; use {names[0]} with lora"
    if TOKENS in names and any(name in PROMPTS for name in names):
        return "peft loads each only when it is the last; use one of them with lora"
    biases = [part.name for part in parts if _trains_biases(part)]
    if len(biases) == 2:
        return "both train the base's biases; leave bitfit out, or bias out of the other"
    if biases and NORMS in names:
        return (
            f"{NORMS} has biases of its own in the norms, and those that {biases[0]} trains there would be without "
            f"effect; use {biases[0]} alone, or {NORMS} with lora"
        )
    if set(names) == {"lora", "adalora"}:
        return "adalora's layers are lora's own, pruned; use adalora alone, or lora with bottleneck"
    return None


def _trains_biases(part: Any) -> bool:
    return part.name == BIASES or getattr(part, "bias", "none") != "none"


def _told(names: Sequence[str]) -> str:
    return ", ".join(names)
