"""peft's prefix tuning for question answering, without its loss of inputs."""

from __future__ import annotations

from typing import Any

from peft import PeftModelForQuestionAnswering
from torch import Tensor, cat


class PrefixedQuestionAnswering(PeftModelForQuestionAnswering):
    """A prefix in front of a question-answering model that passes on every input.

    peft's class names ``token_type_ids`` and ``position_ids`` among its parameters and then leaves them out (peft
    0.21.2, peft_model.py): BERT would not be told which tokens are the question's, without a word.
    """

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **inputs: Any) -> Any:
        """The model's outputs; `input_ids` and `attention_mask` are ``(batch, tokens)``."""
        settings = self.active_peft_config
        prefix = attention_mask.new_ones(len(input_ids), settings.num_virtual_tokens)
        self._adjust_prompt_learning_kwargs(settings, kwargs=inputs, remove_token_type_ids=False)
        inputs["attention_mask"] = cat((prefix, attention_mask), dim=1)
        return self._prefix_tuning_forward(input_ids=input_ids, return_dict=True, **inputs)


def passing_all_inputs(model: Any) -> Any:
    """`model`, a prefix-tuned model of peft's, as one that loses no inputs; others as they are."""
    if type(model) is PeftModelForQuestionAnswering:
        model.__class__ = PrefixedQuestionAnswering  # peft makes the object, attaching and loading alike
    return model
