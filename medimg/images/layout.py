"""How pixels are laid out, as the header declares it, checked before any memory is taken."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pydicom.dataset import Dataset

from medimg.errors import ImageReadError
from medimg.images.files import PathLike
from medimg.images.tags import integer, text

_log = logging.getLogger(__name__)

_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT")
PHOTOMETRICS = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", *_COLOURS, "YBR_RCT", "XYB")


@dataclass(frozen=True)
class Layout:
    """The header's description of the pixels (PS3.3, C.7.6.3)."""

    rows: int
    columns: int
    frames: int
    samples: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    planar: bool
    photometric: str
    floating: bool
    halved_chroma: bool = False

    @property
    def frame_bits(self) -> int:
        """Bits that one uncompressed frame takes."""
        samples = 2 if self.halved_chroma else self.samples
        return self.rows * self.columns * samples * self.allocated

    @property
    def colour(self) -> bool:
        """Whether a decoded pixel has three samples."""
        return self.samples == 3

    def __str__(self) -> str:
        frames = f"{self.frames} frames of " if self.frames > 1 else ""
        kind = (
            f"{self.samples} x {self.allocated} bits" if self.colour else f"{self.allocated} bits"
        )
        return f"{frames}{self.columns} x {self.rows} pixels of {kind}"


def read_layout(path: PathLike, dataset: Dataset, keyword: str, max_pixels: int) -> Layout:
    """Return the layout that the header declares, or raise naming what is missing or absurd."""
    rows, columns = _size(path, dataset, max_pixels)
    floating = keyword != "PixelData"
    allocated = integer(dataset, "BitsAllocated")
    if floating:
        allocated = 32 if keyword == "FloatPixelData" else 64
    if allocated is None or not 1 <= allocated <= 64:
        raise ImageReadError(
            f"{path}: the header does not say how many bits a pixel takes (Bits Allocated); "
            "export the file again from its source."
        )
    stored, high_bit, signed = allocated, allocated - 1, True
    if not floating:
        stored, high_bit, signed = _bits(path, dataset, allocated)
    samples = integer(dataset, "SamplesPerPixel") or 1
    photometric = _photometric(path, dataset, samples)
    frames = integer(dataset, "NumberOfFrames") or 1
    if frames < 1 or frames > 2**24:
        raise ImageReadError(
            f"{path}: the header declares {frames} frames, which no real file holds; "
            "it is damaged, so export it again."
        )
    return Layout(
        rows=rows,
        columns=columns,
        frames=frames,
        samples=samples,
        allocated=allocated,
        stored=stored,
        high_bit=high_bit,
        signed=signed,
        planar=samples > 1 and integer(dataset, "PlanarConfiguration") == 1,
        photometric=photometric,
        floating=floating,
    )


def _size(path: PathLike, dataset: Dataset, max_pixels: int) -> tuple[int, int]:
    rows, columns = integer(dataset, "Rows"), integer(dataset, "Columns")
    if not rows or not columns or rows < 0 or columns < 0:
        raise ImageReadError(
            f"{path}: the header does not say how large the image is (Rows and Columns); "
            "export the file again from its source."
        )
    check_pixels(path, rows, columns, max_pixels)
    return rows, columns


def check_pixels(path: PathLike, rows: int, columns: int, max_pixels: int) -> None:
    """Refuse an image that declares more pixels than the limit."""
    if rows * columns > max_pixels:
        raise ImageReadError(
            f"{path}: the header declares {columns} x {rows} pixels, more than the limit of "
            f"{max_pixels:,}; if you trust the file, raise the limit with max_pixels=."
        )


def _bits(path: PathLike, dataset: Dataset, allocated: int) -> tuple[int, int, bool]:
    """Return bits stored, high bit and signedness, guessing what is missing with a warning."""
    stored = integer(dataset, "BitsStored")
    if stored is None or not 1 <= stored <= allocated:
        _log.warning("%s: Bits Stored is missing or absurd; all %d bits are taken", path, allocated)
        stored = allocated
    high_bit = integer(dataset, "HighBit")
    if high_bit is None or not stored - 1 <= high_bit < allocated:
        high_bit = stored - 1
    signed = integer(dataset, "PixelRepresentation")
    if signed is None:
        _log.warning("%s: Pixel Representation is missing; unsigned is taken", path)
    return stored, high_bit, signed == 1


def _photometric(path: PathLike, dataset: Dataset, samples: int) -> str:
    """Return the photometric interpretation, checked against the samples a pixel has."""
    photometric = text(dataset, "PhotometricInterpretation")
    if not photometric:
        photometric = "MONOCHROME2" if samples == 1 else "RGB"
        _log.warning("%s: Photometric Interpretation is missing; %s is taken", path, photometric)
    if photometric not in PHOTOMETRICS:
        raise ImageReadError(
            f"{path}: its photometric interpretation is not one of {', '.join(PHOTOMETRICS)}; "
            "convert the file to MONOCHROME2 or RGB first, for example with dcmconv or dcmj2pnm."
        )
    grey = photometric in PHOTOMETRICS[:3]
    if samples not in (1, 3) or grey != (samples == 1):
        raise ImageReadError(
            f"{path}: {photometric} pixels cannot have {samples} samples; "
            "the header is wrong, so export the file again."
        )
    return photometric
