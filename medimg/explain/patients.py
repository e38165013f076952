"""Means over images with intervals by patient."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medimg.errors import MetricsError
from medimg.metrics import Estimate
from medimg.metrics.bootstrap import bootstrap_counts
from medimg.metrics.checks import check_patients

Values = npt.NDArray[np.float64]


def mean_by_patient(
    values: Values,
    patients: npt.NDArray[np.int64],
    *,
    rng: np.random.Generator | None = None,
    draws: int = 2000,
) -> Estimate:
    """Mean of values (M,) with a bootstrap interval that draws whole patients."""
    rng = np.random.default_rng(0) if rng is None else rng
    counts = np.stack([values, np.ones_like(values)], axis=1)
    return bootstrap_counts(lambda s: s[:, 0] / s[:, 1], counts, patients, draws=draws, rng=rng)


def patient_codes(patient_ids: Sequence[str] | None, n: int) -> npt.NDArray[np.int64]:
    """Return each image's patient as a number from 0; without ids each image is its own."""
    if patient_ids is None:
        return np.arange(n)
    if len(patient_ids) != n:
        raise MetricsError(f"{len(patient_ids)} patient_ids for {n} images; give one an image.")
    patients = check_patients(patient_ids, np.arange(n).astype(np.str_))
    return np.unique(patients, return_inverse=True)[1].astype(np.int64)
