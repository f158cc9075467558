"""Load, create and query language models: plain torch and transformers."""
