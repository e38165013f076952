"""From files to arrays: study tables, splits by patient, and images decoded once.

A *study table* is a pandas DataFrame with one row per image and at least the columns
``image_id, path, label, split, patient_id``. :func:`load` makes one from a name, a folder or a
table, and :func:`summary` says what is in it. :func:`split_by_patient` keeps each patient on one
side, and :func:`decode` turns the table into an :class:`ImageSet` of uint8 arrays that training
and explanation work on.
"""

from medimg.datasets.arrays import ImageSet, decode, decode_file, decode_masks
from medimg.datasets.audit import audit_shortcuts
from medimg.datasets.checks import Summary, check_duplicates, check_studies, patients_known, summary
from medimg.datasets.layouts import choose, from_folder, load, split_by_patient, subsample
from medimg.datasets.names import class_names, is_ordinal
from medimg.datasets.tables import from_csv

__all__ = [
    "ImageSet", "Summary", "audit_shortcuts", "check_duplicates", "check_studies", "choose",
    "class_names", "decode", "decode_file", "decode_masks", "from_csv", "from_folder", "is_ordinal",
    "load", "patients_known", "split_by_patient", "subsample", "summary",
]  # fmt: skip
