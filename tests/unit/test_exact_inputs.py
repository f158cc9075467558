"""What a batch holds reaches the loss as it is, also with DeepSpeed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from raw2s.trainers.cdpo import ConservativeDpoTrainer
from raw2s.trainers.sft import SupervisedTrainer


@pytest.mark.parametrize("kind", [SupervisedTrainer, ConservativeDpoTrainer])
def test_a_trainer_rounds_nothing(kind: type[Any]) -> None:
    trainer = kind.__new__(kind)
    trainer.args = SimpleNamespace(device="cpu")
    bfloat16 = SimpleNamespace(dtype=lambda: torch.bfloat16)
    plugin = SimpleNamespace(hf_ds_config=bfloat16)
    trainer.accelerator = SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin))
    trainer.is_deepspeed_enabled = True
    batch = {"input_ids": torch.tensor([[1, 2]]), "logprobs": [torch.tensor([-70.2])]}
    given = trainer._prepare_input(batch)
    torch.testing.assert_close(given, batch, rtol=0, atol=0)
