"""Where clips come from: `read_source` gives the checked stream of any kind."""

from preprocessing.sources.read import read_source

__all__ = ["read_source"]
