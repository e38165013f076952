"""Public data: fetched from where its publisher keeps it, with its licence and whom to cite."""

from medimg.sources.download import Source, default_folder, fetch
from medimg.sources.pneumonia import fetch_pneumoniamnist, pneumoniamnist, unpack_npz

__all__ = [
    "Source",
    "default_folder",
    "fetch",
    "fetch_pneumoniamnist",
    "pneumoniamnist",
    "unpack_npz",
]
