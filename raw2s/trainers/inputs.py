"""What a trainer gives to its model and its loss."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Trainer


class ExactInputs(Trainer):
    """transformers' Trainer with a batch's numbers as they are.

    With DeepSpeed it casts floats to the model's dtype, for models whose inputs are floats. Here
    they are the loss's own: weak probabilities, log-probabilities and weights. Of -70.2 bfloat16
    leaves -70.
    """

    def _prepare_input(self, data: torch.Tensor | Any) -> torch.Tensor | Any:
        if isinstance(data, torch.Tensor):
            return data.to(self.args.device)
        return super()._prepare_input(data)
