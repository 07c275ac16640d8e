"""Our own tuners for peft. Importing this package makes peft know them.

After `import peftkit.tuners`, `get_peft_model`, `PeftModel.from_pretrained` and the rest of peft handle a
`BottleneckConfig` like any of their own configs. Importing twice changes nothing.
"""

from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import PeftType, register_peft_method

from peftkit.tuners.bottleneck.config import PEFT_TYPE, BottleneckConfig
from peftkit.tuners.bottleneck.layer import BottleneckLayer
from peftkit.tuners.bottleneck.model import BottleneckModel

__all__ = ["BottleneckConfig", "BottleneckLayer", "BottleneckModel"]


def _add_peft_type(name: str) -> None:
    """Add the member `name` to `peft.utils.PeftType`.

    peft's registration looks the method up in this enum, and Python closes an enum once its class body has run. So
    we do what the enum machinery does for a member: a `str` of that class, known by name, by value and as attribute.
    """
    member = str.__new__(PeftType, name)
    member._name_ = name
    member._value_ = name
    type.__setattr__(PeftType, name, member)
    PeftType._member_map_[name] = member
    PeftType._member_names_.append(name)
    PeftType._value2member_map_[name] = member
    if hasattr(PeftType, "_hashable_values_"):  # Python >= 3.13 answers `name in PeftType` from this list
        PeftType._hashable_values_.append(name)


def _register() -> None:
    """Register the bottleneck tuner with peft, once."""
    if PEFT_TYPE not in PeftType.__members__:
        _add_peft_type(PEFT_TYPE)
    if PEFT_TYPE not in PEFT_TYPE_TO_TUNER_MAPPING:
        register_peft_method(name=PEFT_TYPE.lower(), config_cls=BottleneckConfig, model_cls=BottleneckModel)


_register()
