"""The head that every simulated MR slice is taken of: the MNI template inside an invented skull.

nilearn's wheel ships the ICBM152 2009a nonlinear symmetric T1 template without its skull.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from simulate.errors import SimulationError
from simulate.warps import Floats

_FILE = "nilearn/datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"


@dataclass(frozen=True)
class HeadVolume:
    """A head on a 1 mm grid; axis 0 goes up, axis 1 to the back, axis 2 to the patient's left.

    Attributes
    ----------
    t1 : float32 array, (D, H, W)
        Intensity of the brain from 0 to 1, 0 outside.
    grey, white : float32 array, (D, H, W)
        How likely each voxel is grey or white matter, 0 to 1.
    depth : float32 array, (D, H, W)
        Distance to the brain's smoothed surface in mm: positive outside, negative inside.
    """

    t1: Floats = field(repr=False)
    grey: Floats = field(repr=False)
    white: Floats = field(repr=False)
    depth: Floats = field(repr=False)

    def __post_init__(self) -> None:
        shapes = {self.t1.shape, self.grey.shape, self.white.shape, self.depth.shape}
        if len(shapes) != 1 or self.t1.ndim != 3:
            raise SimulationError(
                f"The head's four maps have the shapes {sorted(shapes)}, but must be (D, H, W) "
                "alike: give maps of one and the same grid."
            )

    def at(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """Return T1, grey and white at points in mm, three arrays (H, W)."""
        t1, grey, white = (
            ndimage.map_coordinates(values, points, order=1)
            for values in (self.t1, self.grey, self.white)
        )
        return t1, grey, white

    def depth_at(self, points: Floats) -> Floats:
        """Return the distance to the brain's surface at points in mm, (H, W)."""
        depth = ndimage.map_coordinates(self.depth, points, order=1, cval=60.0)
        return np.asarray(depth, dtype=np.float32)


def load_head() -> HeadVolume:
    """Read the template that nilearn ships; nothing is downloaded.

    Raises
    ------
    SimulationError
        When nilearn or nibabel is not installed, or a file is missing or no volume.

    References
    ----------
    Fonov et al., NeuroImage 54 (2011) 313-327, doi:10.1016/j.neuroimage.2010.07.033.
    """
    t1, grey, white = (_read(_find(name)) for name in ("t1", "gm", "wm"))
    return head_volume(t1, grey, white)


def head_volume(t1: Floats, grey: Floats, white: Floats) -> HeadVolume:
    """Return a `HeadVolume` of three maps (0 to 1) on one 1 mm grid, padded for the scalp."""
    pad = 24
    t1, grey, white = (
        np.pad(values, ((0, 0), (pad, pad), (pad, pad))) for values in (t1, grey, white)
    )
    if not (t1 > 0).any():
        raise SimulationError("The T1 template is empty: give one whose brain is above 0.")
    return HeadVolume(t1, grey, white, _depth(t1 > 0.05))


def _depth(brain: NDArray[np.bool_]) -> Floats:
    """Return the signed distance to the brain with its furrows closed."""
    closed = ndimage.distance_transform_edt(~brain) < 9
    hull = ndimage.distance_transform_edt(closed) > 8
    depth = ndimage.distance_transform_edt(~hull) - ndimage.distance_transform_edt(hull)
    return np.asarray(ndimage.gaussian_filter(depth, 1.5), dtype=np.float32)


def _find(name: str) -> Path:
    try:
        path = Path(str(metadata.distribution("nilearn").locate_file(_FILE.format(name))))
    except metadata.PackageNotFoundError as error:
        raise SimulationError(
            "The MNI template comes with nilearn, which is not installed: `pip install nilearn`."
        ) from error
    if not path.is_file():
        raise SimulationError(
            f"nilearn has no {path.name}: install a release that ships it, `pip install "
            "nilearn==0.14.1`."
        )
    return path


def _read(path: Path) -> Floats:
    """Return a template of bytes as 0 to 1, turned to (up, back, left)."""
    try:
        import nibabel
    except ModuleNotFoundError as error:
        raise SimulationError(
            "The MNI template cannot be read without nibabel: `pip install nibabel`."
        ) from error
    try:
        image: Any = nibabel.load(path)
        values = np.asarray(image.dataobj, dtype=np.float32)
    except (OSError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
        raise SimulationError(
            f"{path} is not a readable NIfTI volume ({error}): reinstall nilearn."
        ) from error
    # The file runs to the right, to the front and up.
    turned = values.transpose(2, 1, 0)[:, ::-1, ::-1] / np.float32(255)
    return np.ascontiguousarray(turned, dtype=np.float32)
