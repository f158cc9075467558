"""The one error that is the user's to mend."""

from __future__ import annotations


class ConfigError(ValueError):
    """A configuration, a data set or a cluster that cannot work, found before any training.

    The command line prints its message as one line and exits with code 2.
    """
