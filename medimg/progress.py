"""Progress bars that the environment can silence, in notebooks too."""

from __future__ import annotations

import os
from typing import Any

from tqdm import auto, notebook


def tqdm(*args: Any, **kwargs: Any) -> Any:
    """Make a progress bar as `tqdm.auto` does, on terminals and in notebooks only.

    In a log file a bar would write hundreds of lines. ``TQDM_DISABLE`` switches all bars off;
    tqdm itself heeds it on terminals only, and the outputs of notebooks are compared.

    Examples
    --------
    >>> list(tqdm(range(3), disable=True))
    [0, 1, 2]
    """
    if os.environ.get("TQDM_DISABLE"):
        kwargs["disable"] = True
    elif not issubclass(auto.tqdm, notebook.tqdm):
        kwargs.setdefault("disable", None)  # tqdm's word for: unless it is a terminal
    return auto.tqdm(*args, **kwargs)
