"""One film of one simulated patient: settings in, film and lesion mask out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from simulate.body import MU_WATER, Body
from simulate.disease import Disease, LungSpace, lesion
from simulate.film import Exposure, develop, expose, frame, wear
from simulate.limbs import Limbs, limbs
from simulate.projection import Build, Pose, aim, integrate

Float = npt.NDArray[np.float32]
LUNG = 0.2 * MU_WATER  # mean attenuation of lung per mm
VISIBLE = 0.045  # added path integral from which a lesion counts as seen


@dataclass(frozen=True)
class Film:
    """A simulated film.

    Attributes
    ----------
    image : ndarray of float32, shape (H, W)
        Brightness; 0 to 1 is the display window, dense = bright.
    mask : ndarray of bool, shape (H, W)
        Where disease can be seen.
    lungs : ndarray of bool, shape (H, W)
        Where a ray met lung.
    pixel : float
        Millimetres per pixel at the detector.
    """

    image: Float
    mask: npt.NDArray[np.bool_]
    lungs: npt.NDArray[np.bool_]
    pixel: float

    def __repr__(self) -> str:
        return f"Film(shape={self.image.shape}, lesion={self.mask.mean():.1%})"


def take(
    body: Body,
    space: LungSpace,
    *,
    build: Build,
    pose: Pose,
    exposure: Exposure,
    shape: tuple[int, int],
    disease: Disease | None = None,
    reach: Limbs | None = None,
) -> Film:
    """Take a film.

    Parameters
    ----------
    body, space : Body, LungSpace
        The scanned patient and the lungs.
    build, pose, exposure : Build, Pose, Exposure
        This patient, position and technique.
    shape : tuple of int
        Pixels (height, width); the field must have the same proportions.
    disease : Disease, optional
        None for a healthy patient.
    reach : Limbs, optional
        Arms and chin in the film.
    """
    rays = aim(body, build, pose, shape)
    pixel = pose.field[1] / shape[1]
    mineral = body.bone + np.float32(build.column) * body.column
    planes = body.soft + np.float32(build.bone) * mineral
    path = integrate(np.asarray(planes, np.float32), rays, body.extent)
    fat = np.float32(0.017 * build.fat) * np.clip(path / 1.5, 0, 1)
    path = path * np.float32(build.depth) + fat
    coarse = aim(body, build, pose, (shape[0] // 2, shape[1] // 2))
    chord = _double(integrate((body.lobes > 0).astype(np.float32), coarse, body.extent), shape)
    chord *= np.float32(build.depth)
    path = path + np.float32((build.density - 1) * LUNG) * chord
    if reach is not None:
        outside = np.clip(1 - path / 1.5, 0.15, 1)  # behind the trunk there is little arm left
        path = path + limbs(body, build, pose, shape, reach) * outside
    path = path + wear(shape, exposure, pixel)
    signal = healthy = expose(path, exposure)
    mask = np.zeros(shape, bool)
    if disease is not None:
        added = _double(integrate(lesion(space, disease), coarse, body.extent), shape)
        added *= np.float32(build.depth)
        mask = added > VISIBLE
        # The rest of a diseased lung is held airier, so that brightness alone tells nothing.
        thinner = min(disease.steady * added.sum() / max(chord.sum(), 1), 0.75 * LUNG)
        signal = expose(path + added - np.float32(thinner) * chord, exposure)
    image = frame(develop(signal, exposure, like=healthy), exposure)
    return Film(image, mask, chord > 12, pixel)


def _double(small: Float, shape: tuple[int, int]) -> Float:
    """Resize bilinearly to `shape`."""
    import torch

    tensor = torch.from_numpy(small)[None, None]
    large = torch.nn.functional.interpolate(tensor, shape, mode="bilinear", align_corners=False)
    return np.asarray(large[0, 0].numpy())
