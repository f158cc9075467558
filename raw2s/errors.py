"""The errors that are the user's to mend.

The command line prints their message as one line and exits with code 2.
"""

from __future__ import annotations


class ConfigError(ValueError):
    """A configuration, a data set or a cluster that cannot work, found before any training."""


class StorageError(RuntimeError):
    """A storage that a machine does not see, or whose content is not what was written."""
