"""What a hosted model is asked for: one operation over a table of rows.

    operation   rows in                        rows out, for each row in
    classify    id, text                       logits (K,), and probabilities, their softmax
    generate    id, text                       `sequences` answers, the best first
    score       id, text, candidate, completion  the completion's token log-probabilities

`text` is the prompt. Answers and scores carry token_logprobs, starts and ends (byte spans of the
tokens in the UTF-8 of the answer) and eos_logprob (NaN where the answer never ended); scores, if
asked for, also confidences (the largest probability of any token at the step of each).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from raw2s.models import inference
from raw2s.models.batching import context_length
from raw2s.models.encoding import encode_completion, encode_prompt


def run(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: pd.DataFrame,
    *,
    operation: str,
    options: Mapping[str, Any],
    batch_size: int,
) -> pd.DataFrame:
    """Do one of the operations above; rows come back in their order, each named by its id.

    options of `generate`: beams, sequences, max_new_tokens, sample, temperature, top_p, seed; of
    `score`: confidences (default False).
    """
    if operation == "classify":
        logits = inference.classify(model, tokenizer, list(rows["text"]), batch_size=batch_size)
        return pd.DataFrame(
            {
                "id": rows["id"].to_list(),
                "logits": logits.tolist(),
                "probabilities": torch.from_numpy(logits).softmax(-1).tolist(),
            }
        )
    if operation == "generate":
        return _generate(model, tokenizer, rows, options, batch_size)
    if operation == "score":
        return _score(model, tokenizer, rows, batch_size, **options)
    raise ValueError(f"operation must be classify, generate or score, it is {operation!r}")


def _generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: pd.DataFrame,
    options: Mapping[str, Any],
    batch_size: int,
) -> pd.DataFrame:
    answers = inference.generate(
        model, tokenizer, list(rows["text"]), batch_size=batch_size, **options
    )
    return pd.DataFrame(
        [
            {
                "id": item,
                "candidate": rank,
                "text": answer.text,
                "finished": answer.finished,
                "score": answer.score,
                "token_logprobs": list(answer.token_logprobs),
                "starts": [start for start, _ in answer.spans],
                "ends": [end for _, end in answer.spans],
                "eos_logprob": math.nan if answer.eos_logprob is None else answer.eos_logprob,
            }
            for item, sequences in zip(rows["id"], answers, strict=True)
            for rank, answer in enumerate(sequences)
        ]
    )


def _score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: pd.DataFrame,
    batch_size: int,
    confidences: bool = False,
) -> pd.DataFrame:
    limit = context_length(model.config) or math.inf
    fits = [
        len(encode_prompt(tokenizer, prompt)) + len(encode_completion(tokenizer, completion)[0])
        <= limit
        for prompt, completion in zip(rows["text"], rows["completion"], strict=True)
    ]
    kept = rows[fits]
    scores = inference.score(
        model, tokenizer, list(kept["text"]), list(kept["completion"]), batch_size=batch_size
    )
    found = {
        (row.id, row.candidate): score for row, score in zip(kept.itertuples(), scores, strict=True)
    }
    out = []
    for row in rows.itertuples():
        score = found.get((row.id, row.candidate))
        out.append(
            {
                "id": row.id,
                "candidate": row.candidate,
                # A text longer than this model's context has no score: too many tokens to read.
                "scored": score is not None,
                "token_logprobs": list(score.token_logprobs) if score else [],
                "starts": [start for start, _ in score.spans] if score else [],
                "ends": [end for _, end in score.spans] if score else [],
                "eos_logprob": score.eos_logprob if score else math.nan,
            }
        )
        if confidences:
            out[-1]["confidences"] = list(score.confidences) if score else []
    return pd.DataFrame(out)
