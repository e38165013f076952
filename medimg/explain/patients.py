"""Means over images with intervals by patient (they are those of `medimg.metrics`)."""

import numpy as np
import numpy.typing as npt

from medimg.metrics import mean_by_patient, patient_codes

Values = npt.NDArray[np.float64]

__all__ = ["Values", "mean_by_patient", "patient_codes"]
