"""How good logits are: what early stopping looks at after each epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch.nn import functional


def scores(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> dict[str, float]:
    """Return loss, AUC and accuracy of logits.

    Parameters
    ----------
    logits : ndarray
        (N, K).
    labels : ndarray
        int64 (N,).

    Returns
    -------
    dict
        ``loss`` (mean cross-entropy, nats), ``auc`` (over more than two classes the mean of each
        against the rest; NaN with one class only) and ``accuracy`` of the largest logit.

    Examples
    --------
    >>> scores(np.array([[0.0, 0.0], [0.0, 1.0]]), np.array([0, 1]))["auc"]
    1.0
    """
    wide = torch.from_numpy(np.asarray(logits, dtype=np.float64))
    loss = float(functional.cross_entropy(wide, torch.from_numpy(np.asarray(labels))))
    shares = torch.softmax(wide, dim=1).numpy()
    present = [k for k in np.unique(labels) if 0 < (labels == k).sum() < len(labels)]
    kept = present[1:] if wide.shape[1] == 2 else present
    margins = wide[:, 1] - wide[:, 0]  # finer than the probability, which saturates
    each = [
        roc_auc_score(labels == k, margins.numpy() if wide.shape[1] == 2 else shares[:, k])
        for k in kept
    ]
    return {
        "loss": loss,
        "auc": float(np.mean(each)) if each else float("nan"),
        "accuracy": float((wide.argmax(dim=1).numpy() == labels).mean()),
    }
