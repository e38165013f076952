"""How far a batch may be changed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from medimg.errors import TrainingError


@dataclass(frozen=True)
class Augment:
    """How far a batch may be changed. Zero (or ``(1, 1)``) turns a change off.

    Attributes
    ----------
    rotate : float
        Largest rotation either way, in degrees.
    zoom : tuple of float
        Smallest and largest magnification; above 1 the borders fall away.
    shift : float
        Largest shift along each axis, as a share of the side.
    shear : float
        Largest shear either way, in degrees.
    stretch : float
        Largest change of the logarithm of height over width: films of another shape, squeezed
        into the same square.
    flip : float
        Probability of a left-right flip. Zero by default: a mirrored chest has its heart on the
        wrong side.
    brightness, contrast : float
        Largest change of the offset (grey levels in [0, 1]) and of the slope around mid-grey.
    gamma : float
        Largest change of the logarithm of the exponent.
    blur : float
        Largest standard deviation of a Gaussian blur, in pixels (of half of the images).
    sharpen : float
        Largest amount of detail added, as a share of what a Gaussian blur of one pixel would take
        away (of half of the images).
    noise : float
        Largest standard deviation of added noise.
    equalize : float
        Probability of blending the image with its histogram-equalised version.
    border : float
        Largest share of each side's strip that may be blanked (each side with probability 1/4):
        takes away markers and collimator edges that tell the label without the lung.

    Examples
    --------
    >>> Augment(rotate=5).rotate
    5
    >>> Augment.none().zoom
    (1.0, 1.0)
    """

    rotate: float = 10.0
    zoom: tuple[float, float] = (0.9, 1.1)
    shift: float = 0.05
    shear: float = 0.0
    stretch: float = 0.0
    flip: float = 0.0
    brightness: float = 0.1
    contrast: float = 0.1
    gamma: float = 0.0
    blur: float = 0.0
    sharpen: float = 0.0
    noise: float = 0.0
    equalize: float = 0.0
    border: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "zoom":
                if not 0 < value[0] <= value[1]:
                    raise TrainingError(
                        f"zoom is {value}; give (smallest, largest) with 0 < smallest <= largest"
                    )
            elif value < 0:
                raise TrainingError(f"{field.name} is {value}; give zero or more")
        for name in ("flip", "equalize"):
            if getattr(self, name) > 1:
                raise TrainingError(f"{name} is a probability, not {getattr(self, name)}")

    @classmethod
    def none(cls) -> Augment:
        """No change at all."""
        return cls(rotate=0.0, zoom=(1.0, 1.0), shift=0.0, brightness=0.0, contrast=0.0)

    @classmethod
    def strong(cls) -> Augment:
        """For films that come from elsewhere: other exposure, processing, framing, markers."""
        return cls(
            rotate=12.0,
            zoom=(0.85, 1.3),
            shift=0.08,
            shear=5.0,
            brightness=0.2,
            contrast=0.35,
            gamma=0.5,
            blur=1.2,
            noise=0.04,
            equalize=0.25,
            border=0.08,
        )

    @classmethod
    def harsh(cls) -> Augment:
        """Strong, and films of another shape or sharper: for sets large enough to bear it."""
        return replace(cls.strong(), stretch=0.25, sharpen=1.0)
