"""raw2s: weak-to-strong generalisation with several weak models, as one Ray program."""

__version__ = "0.1.0"
