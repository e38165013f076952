"""Write a simulated film as the DICOM file a hospital would send.

All header people are invented. Every file says SIMULATED in Image Type, Series Description and
Image Comments.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from simulate.header import UID_ROOT, make_header

Float = npt.NDArray[np.float32]
SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg2000": JPEG2000Lossless,
    "jpegls": JPEGLSLossless,
}
WINDOWS = ("linear", "two windows", "sigmoid", "voi lut")


@dataclass(frozen=True)
class Coding:
    """How the pixels of a file are stored.

    Attributes
    ----------
    syntax : str
        A key of `SYNTAXES`.
    bits : int
        Bits stored, 10 to 14, in 16 allocated.
    inverted : bool
        MONOCHROME1, where the lowest value is white.
    window : str
        One of `WINDOWS`: what the VOI module holds.
    """

    syntax: str = "explicit"
    bits: int = 12
    inverted: bool = False
    window: str = "linear"


def stored_values(
    image: Float, coding: Coding
) -> tuple[npt.NDArray[np.uint16], tuple[float, float], npt.NDArray[np.uint16] | None]:
    """Return stored values, window (centre, width) and VOI LUT that display as `image`.

    Parameters
    ----------
    image : ndarray of float32, shape (H, W)
        0 to 1 is the window; values beyond are kept as far as the bits reach.
    coding : Coding
        Bits, inversion and kind of window.
    """
    top = 2**coding.bits - 1
    low, width = round(0.2 * top), round(0.6 * top)
    lut = None
    exact = image.astype(np.float64)  # in float32 a logarithm's last bit depends on the processor
    if coding.window == "sigmoid":
        # Inverse of 1 / (1 + exp(-4 (v - c) / w)), the function of PS3.3 C.11.2.1.3.1.
        logit = np.clip(exact, 0.002, 0.998)
        centre, spread = round(0.5 * top), round(0.35 * top)
        values = centre + spread / 4 * np.log(logit / (1 - logit))
        window = (float(centre), float(spread))
    elif coding.window == "voi lut":
        values = np.clip(exact, 0, 1) ** 0.8 * top
        lut = np.round((np.arange(top + 1) / top) ** 1.25 * 4095).astype(np.uint16)
        window = (0.0, 0.0)
    else:
        # Inverse of the LINEAR function of PS3.3 C.11.2.1.2.1.
        values = low + image * (width - 1)
        window = (low + 0.5 + (width - 1) / 2, float(width))
    stored = np.clip(np.round(values), 0, top).astype(np.uint16)
    if coding.inverted:
        stored = (top - stored).astype(np.uint16)
        if lut is None:
            window = (top - window[0] + (1 if coding.window != "sigmoid" else 0), window[1])
        else:
            lut = (4095 - lut[::-1]).astype(np.uint16)
    return stored, window, lut


def write_dx(image: Float, coding: Coding, row: Any, pixel: float) -> bytes:
    """Return a whole DX file.

    Parameters
    ----------
    image : ndarray of float32, shape (H, W)
        Brightness, 0 to 1 displayed.
    coding : Coding
        How to store it.
    row : mapping
        The plan's entry for this film (see `simulate.sample.plan`).
    pixel : float
        Millimetres per pixel at the detector.
    """
    stored, window, lut = stored_values(image, coding)
    data = make_header(row, pixel, bits=coding.bits, inverted=coding.inverted)
    data.Rows, data.Columns = stored.shape
    _voi(data, coding, window, lut)
    data.PixelData = stored.tobytes()
    data["PixelData"].VR = "OW"
    syntax = SYNTAXES[coding.syntax]
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.ImplementationClassUID = UID(f"{UID_ROOT}.1")
    data.file_meta.ImplementationVersionName = "MEDIMG_SIM"
    plain = syntax if syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian) else None
    data.file_meta.TransferSyntaxUID = plain or ExplicitVRLittleEndian
    if plain is None:
        data.compress(syntax, stored, generate_instance_uid=False)
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _voi(
    data: Dataset,
    coding: Coding,
    window: tuple[float, float],
    lut: npt.NDArray[np.uint16] | None,
) -> None:
    """Fill in the VOI LUT module."""
    if lut is not None:
        item = Dataset()
        item.LUTDescriptor = [len(lut) % 65536, 0, 12]
        item.LUTExplanation = "STANDARD CHEST"
        item.LUTData = lut.tobytes()
        item["LUTData"].VR = "OW"
        data.VOILUTSequence = [item]
        return
    centre, width = (f"{v:g}" for v in window)
    if coding.window == "two windows":
        data.WindowCenter = [centre, centre]
        data.WindowWidth = [width, f"{round(window[1] * 0.6):g}"]
        data.WindowCenterWidthExplanation = ["NORMAL", "HARDER"]
    else:
        data.WindowCenter, data.WindowWidth = centre, width
        data.WindowCenterWidthExplanation = "NORMAL"
    if coding.window == "sigmoid":
        data.VOILUTFunction = "SIGMOID"
