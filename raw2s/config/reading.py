"""From a YAML file to a run and back."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from raw2s.config.run import Run
from raw2s.errors import ConfigError

_MOST_VALUES = 100_000
_USER_IN_URL = re.compile(r"://[^/\s]*@")


def load(
    path: str | Path,
    *,
    data: str | None = None,
    overrides: dict[str, Any] | None = None,
    base: str | Path | None = None,
) -> Run:
    """Read a configuration, and below it the one that its key `base` names, if it has one.

    `base` stands in for that one, and the run's name then ends in its name. `data` becomes every
    task's data folder; without it RAW2S_DATA serves the tasks that name none.
    `overrides` maps dotted keys to values, `{"seeds": [0, 1], "name": "x"}`.
    Paths become absolute: relative storage against the working folder. Raises ConfigError in one
    line.
    """
    raw = _read(Path(path), instead=Path(base) if base else None)
    for key, value in (overrides or {}).items():
        set_key(raw, key.split("."), value)
    return parse(raw, data=data, fallback=os.environ.get("RAW2S_DATA") or None)


def _read(
    path: Path, building_on: tuple[Path, ...] = (), instead: Path | None = None
) -> dict[str, Any]:
    """The file's keys over those of the file that its `base` names, relative to its own folder, or
    of the one that is there `instead`."""
    if not path.is_file():
        raise ConfigError(f"no configuration file {path}")
    if path.resolve() in building_on:
        raise ConfigError(f"{path} has itself as its base")
    try:
        raw = _unshared(yaml.safe_load(path.read_text(encoding="utf-8")), path)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not YAML: {_place(error)}") from None
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise ConfigError(f"{path} holds no named keys")
    raw = {key: value for key, value in raw.items() if not key.startswith("x-")}
    base = raw.pop("base", None)
    if instead is not None:
        raw["name"] = f"{raw.get('name', path.stem)}-{instead.stem}"
        return _over(_read(instead, (*building_on, path.resolve())), raw)
    if base is None:
        return raw
    return _over(_read(path.parent / str(base), (*building_on, path.resolve())), raw)


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Dictionaries are merged key by key; anything else above replaces what is below."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = _over(old, value)
        merged[key] = value
    return merged


def parse(raw: dict[str, Any], *, data: str | None = None, fallback: str | None = None) -> Run:
    """A configuration from plain dictionaries; `fallback` is RAW2S_DATA, see `load`."""
    _check_no_secret(raw)
    try:
        run = Run.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_one_line(error)) from error
    experiments = {}
    for name, experiment in run.experiments.items():
        folder = data or experiment.task.data.folder or fallback
        if folder is not None:
            if not Path(folder).is_dir():
                raise ConfigError(f"data folder {folder} does not exist")
            source = experiment.task.data.model_copy(update={"folder": str(Path(folder).resolve())})
            task = experiment.task.model_copy(update={"data": source})
            experiment = experiment.model_copy(update={"task": task})
        experiments[name] = experiment
    return run.model_copy(update={"experiments": experiments, "storage": _storage(run.storage)})


def _check_no_secret(node: Any, where: str = "configuration") -> None:
    """Raise ConfigError for a URL that holds a user, and perhaps a password or a token: pages show
    the resolved configuration."""
    if isinstance(node, dict):
        for key, value in node.items():
            _check_no_secret(value, str(key))
    elif isinstance(node, list):
        for value in node:
            _check_no_secret(value, where)
    elif isinstance(node, str) and _USER_IN_URL.search(node):
        raise ConfigError(
            f"{where}: a URL with a user or a secret in it; see SECURITY.md for where those belong"
        )


def _storage(given: str) -> str:
    if given.startswith("s3://"):
        if not given.removeprefix("s3://").strip("/"):
            raise ConfigError(f"storage {given} names no bucket")
        return given.rstrip("/")
    if "://" in given:
        raise ConfigError(f"storage {given} is neither a folder nor s3://bucket/prefix")
    return str(Path(given).expanduser().resolve())


def dump(run: Run) -> str:
    """The resolved configuration as YAML; `load` reads it back to the same run."""
    return yaml.safe_dump(run.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _place(error: Exception) -> str:
    """What is wrong and where, without the lines there: `base` may name any file, and this goes
    into logs."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"{error.reason}, position {error.position}"
    if not isinstance(error, yaml.MarkedYAMLError):
        return type(error).__name__
    parts = ((error.context, error.context_mark), (error.problem, error.problem_mark))
    told = (f"{text}, line {m.line + 1}, column {m.column + 1}" for text, m in parts if text and m)
    return ": ".join(told)


def _unshared(node: Any, path: Path) -> Any:
    """A copy in which a YAML alias is a value of its own, so that one override sets one key.

    Raises ConfigError where aliases of aliases make it too large, RecursionError where one leads
    back to itself.
    """
    left = _MOST_VALUES

    def copied(node: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise ConfigError(f"{path} has more than {_MOST_VALUES:,} values")
        if isinstance(node, dict):
            return {key: copied(value) for key, value in node.items()}
        if isinstance(node, list):
            return [copied(value) for value in node]
        return node

    return copied(node)


def set_key(raw: dict[str, Any], keys: Sequence[str | int], value: Any) -> None:
    """Set a nested key of plain dictionaries and lists, making the dictionaries on the way to it.

    Raises ConfigError where a list has no such place, or a plain value stands in the way.
    """
    node: Any = raw
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        try:
            index: Any = int(key) if isinstance(node, list) else key
            if last:
                node[index] = copy.deepcopy(value)
            elif isinstance(node, dict):
                if node.get(index) is None:
                    node[index] = {}
                node = node[index]
            else:
                node = node[index]
        except (ValueError, IndexError, TypeError) as error:
            raise ConfigError(f"no key {'.'.join(map(str, keys))} to set") from error


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "configuration"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key"
    elif first["type"] not in ("value_error", "missing"):
        message += f", it is {first.get('input')!r}"
    more = error.error_count() - 1
    return f"{where}: {message}" + (f" (and {more} more)" if more else "")
