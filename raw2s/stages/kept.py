"""Answers that are kept as they come, block by block, until their job is done.

A run that was killed asks for the rest only.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging

import pandas as pd

from raw2s.storage.tables import decoded
from raw2s.store import Job, Store

_LOG = logging.getLogger(__name__)
_PACKAGES = ("raw2s", "torch", "transformers", "tokenizers")
"""Those whose versions an answer may depend on."""


def kept_as(job: Job, store: Store) -> str:
    """The name under which a job's answers are kept: what they depend on beside the job itself,
    whose inputs may have been made again since. Batch sizes and devices, which round otherwise, are
    how it is done, as for whole artefacts."""
    files = [store.manifest(item)["files"] for item in job.inputs.values()]
    versions = [importlib.metadata.version(package) for package in _PACKAGES]
    content = json.dumps([versions, files], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:24]


def kept(job: Job, store: Store, name: str, key: list[str]) -> pd.DataFrame:
    """The answers that were kept under this name, those to a row once; `key`: the columns that name
    a row."""
    pieces, damaged = store.pieces(job, name)
    if damaged:
        _LOG.warning(
            "%s %s: %d blocks of answers are not what was written and are asked again",
            job.stage, job.title, damaged,
        )  # fmt: skip
    tables, seen = [], set()
    for piece in pieces:
        # A block that was slow may have been answered twice.
        table = decoded(piece)
        rows = list(table[key].itertuples(index=False, name=None))
        tables.append(table[[row not in seen for row in rows]])
        seen.update(rows)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=key)
