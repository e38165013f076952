"""The errors that medimg raises on purpose.

Each message is one sentence that names the file or value, says what was expected, and how to
mend it. The command line prints it as one line and ends with status 2.
"""


class MedimgError(Exception):
    """Anything that the caller can put right: bad input, a missing file, a failed download."""


class ImageReadError(MedimgError):
    """A file or series cannot be turned into an image."""


class StudyTableError(MedimgError):
    """A study table, or the folder it was to be made from, is not as expected."""


class DownloadError(MedimgError):
    """A download failed or did not match its checksum."""


class PrecisionError(MedimgError):
    """The precision asked for is unknown, or this machine cannot compute in it."""


class ModelError(MedimgError):
    """A network cannot be built, or its weights cannot be found or loaded."""


class TrainingError(MedimgError):
    """Training cannot start or continue with the given data or settings."""


class MetricsError(MedimgError):
    """Predictions are malformed, so that no metric would mean anything."""


class DeidentifyError(MedimgError):
    """De-identification could not be done, or could not be proven."""
