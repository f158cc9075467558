"""Batches of what several weak models wrote: equal texts are read once, for all of them."""

from __future__ import annotations

import pytest
import torch

from raw2s.config import Auxiliary
from raw2s.trainers.batches import GenerationCollator, GenerationItem, TargetSequence
from raw2s.trainers.sft import Loss, batch_loss

VOCABULARY = 11
PROMPT = [3, 4]


def item(*answers: tuple[list[int], list[float]]) -> GenerationItem:
    """A prompt with the answers of weak models, each with its words' log-probabilities."""
    return GenerationItem(
        [
            TargetSequence(
                [*PROMPT, *tokens], len(PROMPT), weight=1 / len(answers),
                units=list(range(len(tokens))), unit_logprobs=logprobs,
            )
            for tokens, logprobs in answers
        ]
    )  # fmt: skip


ALIKE = [
    item(([5, 6], [-0.1, -0.2]), ([5, 6], [-1.0, -0.5]), ([7], [-0.3])),
    item(([5, 6], [-0.4, -0.1])),
]


def model(ids: torch.Tensor) -> torch.Tensor:
    """Logits that depend on each token and all before it."""
    table = torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(1))
    return table[ids].cumsum(1)


def test_equal_texts_are_one_row() -> None:
    batch = GenerationCollator(0)(ALIKE)
    assert batch["input_ids"].tolist() == [[3, 4, 5, 6], [3, 4, 7, 0]]
    # The last prompt token and the tokens before a target: of the second text its prompt's only.
    assert batch["read"].int().tolist() == [[0, 1, 1, 0], [0, 1, 0, 0]]
    assert batch["places"].tolist() == [[-1, 0, 1], [-1, 0, 1], [-1, 2, -1], [-1, 0, 1]]
    assert batch["labels"].tolist() == [
        [-100, 5, 6], [-100, 5, 6], [-100, 7, -100], [-100, 5, 6],
    ]  # fmt: skip
    assert batch["unit_logprobs"][:, 1].tolist() == pytest.approx([-0.1, -1.0, -0.3, -0.4])
    assert batch["sequence_weights"].tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])


@pytest.mark.parametrize("loss", ["cross_entropy", "evidential"])
@pytest.mark.parametrize("target", ["one_hot", "label_only", "full"])
def test_the_loss_is_that_of_texts_read_apart(loss: str, target: str) -> None:
    told = Loss(loss, Auxiliary(gamma_max=0.2), target=target)  # type: ignore[arg-type]

    def of(items: list[GenerationItem]) -> torch.Tensor:
        batch = GenerationCollator(0)(items)
        return batch_loss(model(batch["input_ids"])[batch["read"]], batch, told, 0.5)

    alone = [of([GenerationItem([one])]) for item in ALIKE for one in item.sequences]
    torch.testing.assert_close(of(ALIKE), torch.stack(alone).sum() / len(ALIKE))
