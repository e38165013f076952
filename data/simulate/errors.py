"""The error that the simulator raises on purpose."""

from medimg.errors import MedimgError


class SimulationError(MedimgError):
    """The sample cannot be made: its source volume is missing or a setting is impossible."""
