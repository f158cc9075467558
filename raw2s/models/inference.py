"""Batched questions to a model: class logits, generated sequences, teacher-forced scores.

Rows are batched by length and come back in their order. Padding is told by attention masks. The
log-probabilities are always the model's own (no temperature, no beam penalty), in float32.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from raw2s.models.batching import batches, check_context, pad_id, padded
from raw2s.models.encoding import Span, decoded_spans, encode_completion, encode_prompt, end_id
from raw2s.models.sampling import row_seed, sampling_processors


@dataclass(frozen=True)
class GeneratedSequence:
    """One sequence that a model wrote.

    token_ids, token_logprobs (nats) and spans have one entry for each token except the end of the
    sequence; spans are byte spans over the UTF-8 of `text` (see `decoded_spans`). eos_logprob is
    None, and finished False, where the sequence was cut at the length limit. score is the mean
    log-probability of the tokens, the end of the sequence included where it was written.
    """

    text: str
    token_ids: list[int]
    token_logprobs: list[float]
    spans: list[Span]
    eos_logprob: float | None
    finished: bool
    score: float


@dataclass(frozen=True)
class TokenScores:
    """Log-probabilities (nats) of a given completion's tokens, their byte spans, and of its end.

    confidences: the largest probability that any token has at the step of each.
    """

    token_logprobs: list[float]
    spans: list[Span]
    eos_logprob: float
    confidences: list[float]


def classify(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    batch_size: int,
) -> np.ndarray:
    """Class logits (n, K), float32, of a sequence classifier.

    Raises ValueError where model and tokenizer disagree about padding (the model pools the last
    token that is not padding), or for a text longer than the model's context.
    """
    config: Any = model.config
    if config.pad_token_id != tokenizer.pad_token_id:
        raise ValueError(
            f"model pads with id {config.pad_token_id}, "
            f"the tokenizer with id {tokenizer.pad_token_id}"
        )
    rows = [encode_prompt(tokenizer, text) for text in texts]
    check_context(model, [len(row) for row in rows], "texts", "")
    out = np.zeros((len(rows), config.num_labels), dtype=np.float32)
    for batch in batches([len(row) for row in rows], batch_size):
        ids, mask = padded([rows[i] for i in batch], pad_id(tokenizer), model.device)
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=mask).logits
        out[batch] = logits.float().cpu().numpy()
    return out


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    beams: int = 1,
    sequences: int = 1,
    max_new_tokens: int = 64,
    sample: bool = False,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int | None = None,
    batch_size: int,
) -> list[list[GeneratedSequence]]:
    """`sequences` continuations of each prompt, the highest score first.

    Beam search (`beams` 1: greedy), or with `sample` independent draws. A draw depends on the
    model, the seed, the prompt's text and its number among the prompt's draws, and on nothing else:
    equal prompts get equal draws. `seed` None takes a fresh one. The model's stored generation
    settings are not used. Raises ValueError for settings that do not fit each other, and for a
    prompt that leaves less than `max_new_tokens` of the model's context.
    """
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    if sample and beams != 1:
        raise ValueError(f"beams must be 1 when sampling, got {beams}")
    if sequences < 1 or (not sample and sequences > beams):
        raise ValueError(f"sequences must be in 1..beams = {beams}, got {sequences}")
    rows = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    check_context(
        model,
        [len(row) + max_new_tokens for row in rows],
        "prompts",
        f" with max_new_tokens {max_new_tokens}",
    )
    seed = secrets.randbits(63) if seed is None else seed
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        num_beams=beams,
        num_return_sequences=1 if sample else sequences,
        do_sample=False,
        length_penalty=1.0,
        eos_token_id=end_id(tokenizer),
        pad_token_id=pad_id(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
    )
    writer: Any = model
    out: list[list[GeneratedSequence]] = [[] for _ in rows]
    for batch in batches([len(row) for row in rows], batch_size):
        # Beams of a prompt come from one row; draws have a row each.
        copies = [i for i in batch for _ in range(sequences if sample else 1)]
        processors = LogitsProcessorList()
        if sample:
            seeds = [row_seed(seed, prompts[i], draw) for i in batch for draw in range(sequences)]
            processors = sampling_processors(seeds, temperature, top_p, model.device)
        ids, mask = padded([rows[i] for i in copies], pad_id(tokenizer), model.device, left=True)
        with torch.inference_mode(), _generation_config(model, config):
            written = writer.generate(
                input_ids=ids, attention_mask=mask, logits_processor=processors
            )
        answers = [row[ids.shape[1] :].tolist() for row in written]
        owners = [i for i in batch for _ in range(sequences)]
        for i, answer in zip(
            owners, _finish(model, tokenizer, rows, owners, answers, batch_size), strict=True
        ):
            out[i].append(answer)
    return [sorted(answers, key=lambda answer: -answer.score) for answers in out]


def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    completions: Sequence[str],
    *,
    batch_size: int,
) -> list[TokenScores]:
    """Teacher-forced log-probabilities of each completion, its end included, after its prompt.

    Raises ValueError for unequal numbers of prompts and completions, and for a pair that is longer
    than the model's context.
    """
    if len(prompts) != len(completions):
        raise ValueError(f"{len(prompts)} prompts but {len(completions)} completions")
    encoded = [encode_completion(tokenizer, completion) for completion in completions]
    found = token_scores(
        model,
        [encode_prompt(tokenizer, prompt) for prompt in prompts],
        [ids for ids, _ in encoded],
        pad_token_id=pad_id(tokenizer),
        batch_size=batch_size,
    )
    return [
        TokenScores(values[:-1], spans, values[-1], confidences[:-1])
        for (values, confidences), (_, spans) in zip(found, encoded, strict=True)
    ]


def token_scores(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    completions: Sequence[list[int]],
    *,
    pad_token_id: int,
    batch_size: int,
) -> list[tuple[list[float], list[float]]]:
    """log P(token | everything before it) of every completion token, and the largest probability
    that any token has at its step, for rows of token ids."""
    out: list[tuple[list[float], list[float]]] = [([], []) for _ in prompts]
    for i, logits in completion_logits(
        model, prompts, completions, pad_token_id=pad_token_id, batch_size=batch_size
    ):
        target = torch.tensor(completions[i], device=logits.device)[:, None]
        part = logits.float()
        total = part.logsumexp(-1)
        chosen = part.gather(-1, target)[:, 0] - total
        out[i] = chosen.tolist(), torch.exp(part.amax(-1) - total).tolist()
    return out


def completion_logits(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    completions: Sequence[list[int]],
    *,
    pad_token_id: int,
    batch_size: int,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Each row's number and the logits (T, V) that predict its completion's T tokens.

    Prompts need at least one token. The output layer runs on the completions' positions only.
    """
    rows = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    check_context(model, [len(row) for row in rows], "completions", " (prompt and completion)")
    for batch in batches([len(row) for row in rows], batch_size):
        ids, mask = padded([rows[i] for i in batch], pad_token_id, model.device)
        wanted = torch.zeros(ids.shape, dtype=torch.bool, device=model.device)
        for row, i in enumerate(batch):
            # The logits at a position are about the next token.
            wanted[row, len(prompts[i]) - 1 : len(rows[i]) - 1] = True
        with torch.inference_mode():
            logits = model(
                input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=wanted
            ).logits
        yield from zip(batch, logits.split([len(completions[i]) for i in batch]), strict=True)


def _finish(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[list[int]],
    owners: Sequence[int],
    answers: Sequence[list[int]],
    batch_size: int,
) -> list[GeneratedSequence]:
    """Cut what was written at its end and read its log-probabilities in one pass over it.

    The pass replaces the scores of the search, which keeps vocabulary-sized tensors for each step.
    """
    eos = end_id(tokenizer)
    # Padding after the end may be the end token itself: the first one counts.
    cut = [ids[: ids.index(eos) + 1] if eos in ids else ids for ids in answers]
    found = token_scores(
        model,
        [rows[i] for i in owners],
        cut,
        pad_token_id=pad_id(tokenizer),
        batch_size=batch_size,
    )
    out = []
    for ids, (values, _) in zip(cut, found, strict=True):
        finished = ids[-1] == eos
        kept = len(ids) - finished
        text, spans = decoded_spans(tokenizer, ids[:kept])
        out.append(
            GeneratedSequence(
                text=text,
                token_ids=ids[:kept],
                token_logprobs=values[:kept],
                spans=spans,
                eos_logprob=values[-1] if finished else None,
                finished=finished,
                score=sum(values) / len(values),
            )
        )
    return out


@contextmanager
def _generation_config(model: PreTrainedModel, config: GenerationConfig) -> Iterator[None]:
    # A configuration given to model.generate is filled up from the model's own (repetition
    # penalties, forced tokens), so it takes that one's place instead.
    stored = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = stored
