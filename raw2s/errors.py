"""The errors that are the user's to mend.

The command line prints their message as one line and exits with code 2.
"""

from __future__ import annotations

import errno

_SAID = ("No space left on device", "PytorchStreamWriter failed writing file")


class ConfigError(ValueError):
    """A configuration, a data set or a cluster that cannot work, found before any training."""


class StorageError(RuntimeError):
    """A storage that a machine does not see, or whose content is not what was written."""


def no_space(error: BaseException | None) -> bool:
    """Whether a full disk, or a quota that is used up, is behind an error of whatever library."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        # safetensors and torch tell it in words only.
        if any(text in str(error) for text in _SAID):
            return True
        error = error.__cause__ or error.__context__
    return False
