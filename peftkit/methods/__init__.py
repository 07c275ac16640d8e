"""The METHODS table: a new method is one file and one line here."""

from __future__ import annotations

from peftkit.contracts import Method
from peftkit.methods.adalora import Adalora
from peftkit.methods.bitfit import Bitfit
from peftkit.methods.boft import Boft
from peftkit.methods.bottleneck import Bottleneck
from peftkit.methods.c3a import C3a
from peftkit.methods.fourierft import Fourierft
from peftkit.methods.full import Full
from peftkit.methods.glora import Glora
from peftkit.methods.head import Head
from peftkit.methods.hra import Hra
from peftkit.methods.ia3 import Ia3
from peftkit.methods.ln_tuning import LnTuning
from peftkit.methods.loha import Loha
from peftkit.methods.lokr import Lokr
from peftkit.methods.lora import Lora
from peftkit.methods.low_rank import Adamss, Deft, Delora, Gralora, Peanut, Pvera, Tinylora, Unilora
from peftkit.methods.miss import Miss
from peftkit.methods.oft import Oft
from peftkit.methods.p_tuning import PTuning
from peftkit.methods.plain import Beft, Frod, Hira, Osf, Psoft, Supertuning, Waveft
from peftkit.methods.prefix_tuning import PrefixTuning
from peftkit.methods.prompt_tuning import PromptTuning
from peftkit.methods.randlora import Randlora
from peftkit.methods.registered import Registered
from peftkit.methods.road import Road
from peftkit.methods.shira import Shira
from peftkit.methods.trainable_tokens import TrainableTokens
from peftkit.methods.vblora import Vblora
from peftkit.methods.vera import Vera

METHODS: dict[str, type[Method]] = {
    "full": Full,
    "head": Head,
    "bitfit": Bitfit,
    "lora": Lora,
    "adalora": Adalora,
    "bottleneck": Bottleneck,
    "prefix-tuning": PrefixTuning,
    "ia3": Ia3,
    "vera": Vera,
    "loha": Loha,
    "lokr": Lokr,
    "oft": Oft,
    "boft": Boft,
    "hra": Hra,
    "fourierft": Fourierft,
    "vblora": Vblora,
    "randlora": Randlora,
    "c3a": C3a,
    "shira": Shira,
    "road": Road,
    "miss": Miss,
    "ln-tuning": LnTuning,
    "prompt-tuning": PromptTuning,
    "p-tuning": PTuning,
    "trainable-tokens": TrainableTokens,
    "adamss": Adamss,
    "beft": Beft,
    "deft": Deft,
    "delora": Delora,
    "frod": Frod,
    "glora": Glora,
    "gralora": Gralora,
    "hira": Hira,
    "osf": Osf,
    "peanut": Peanut,
    "psoft": Psoft,
    "pvera": Pvera,
    "supertuning": Supertuning,
    "tinylora": Tinylora,
    "unilora": Unilora,
    "waveft": Waveft,
    "peft": Registered,
}
