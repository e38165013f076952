"""De-identify DICOM files after PS3.15 Annex E, and prove that it worked.

`deidentify` is the way in. Below it, each in its own module: `rules` (which element), `profile`
(what happens to it), `pixels`, `inventory` and `scan` and `verify` (the proof), `journal` (stop and
go on), `report`.
"""

from medimg.deid.hipaa import hipaa_table
from medimg.deid.options import Box, DeidOptions
from medimg.deid.report import DeidReport
from medimg.deid.run import deidentify

__all__ = ["Box", "DeidOptions", "DeidReport", "deidentify", "hipaa_table"]
