"""From files to arrays: study tables, splits by patient, and images decoded once.

A *study table* is a pandas DataFrame with one row an image and at least the columns
``image_id, path, label, split, patient_id``. :func:`load` makes one from a name or a folder,
:func:`split_by_patient` keeps each patient on one side, :func:`decode` turns it into an
:class:`ImageSet` of uint8 arrays that training and explanation work on.
"""

from medimg.datasets.arrays import ImageSet, decode, decode_masks
from medimg.datasets.audit import audit_shortcuts
from medimg.datasets.catalogue import data_root, load
from medimg.datasets.classes import class_names
from medimg.datasets.folders import from_folder
from medimg.datasets.splits import draw, draw_few, split_by_patient
from medimg.datasets.tables import check_studies, from_csv

__all__ = [
    "ImageSet",
    "audit_shortcuts",
    "check_studies",
    "class_names",
    "data_root",
    "decode",
    "decode_masks",
    "draw",
    "draw_few",
    "from_csv",
    "from_folder",
    "load",
    "split_by_patient",
]
