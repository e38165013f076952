"""De-identify DICOM files after PS3.15 Annex E, and prove that it worked.

`deidentify` is the way in. The principle is to account for every byte: a copy holds elements whose
value is of a closed vocabulary or was checked (`profile`), replaced elements, and samples of pixels
(`pixels`); everything else is removed. `proof` then searches the bytes that were written.
"""

from medimg.deid.options import Box, DeidOptions
from medimg.deid.run import DeidReport, deidentify, hipaa_table

__all__ = ["Box", "DeidOptions", "DeidReport", "deidentify", "hipaa_table"]
