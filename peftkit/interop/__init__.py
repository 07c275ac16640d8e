"""After training: merging, exporting as LoRA, the model card, the hub, several adapters on one base. Loads no torch.

`MERGE_FILE` and `EXPORT_FILE` are where the two reports lie, beside what they tell of.
"""

from peftkit.interop.card import card_of, write_card
from peftkit.interop.exporting import EXPORT_FILE, export_lora
from peftkit.interop.merging import MERGE_FILE, merge
from peftkit.interop.pushing import push
from peftkit.interop.switching import Adapters

__all__ = ["EXPORT_FILE", "MERGE_FILE", "Adapters", "card_of", "export_lora", "merge", "push", "write_card"]
