"""Progress bars that the environment can silence, in notebooks too."""

from __future__ import annotations

import os
from typing import Any

from tqdm import auto


def tqdm(*args: Any, **kwargs: Any) -> Any:
    """Make a progress bar as `tqdm.auto` does; none when ``TQDM_DISABLE`` is set.

    tqdm itself heeds that variable on terminals, but not in notebooks, whose outputs are compared.

    Examples
    --------
    >>> list(tqdm(range(3), disable=True))
    [0, 1, 2]
    """
    if os.environ.get("TQDM_DISABLE"):
        kwargs["disable"] = True
    return auto.tqdm(*args, **kwargs)
