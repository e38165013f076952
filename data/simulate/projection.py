"""Send rays from a point source through the body: the path integral at each detector pixel.

Each coronal plane is met by the cone of rays at its own magnification, so that the integral is a
sum of resampled planes. Pose and build are smooth displacements of the place where a ray meets a
plane, which bends the whole patient (and the lesion with it) without ever mirroring one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from simulate.body import Body
from simulate.errors import SimulationError
from torch.nn import functional

Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Build:
    """How a patient differs from the one who was scanned.

    Attributes
    ----------
    width, height : float
        Size relative to the scan.
    depth : float
        Thickness relative to the scan (scales every path).
    fat : float
        Millimetres of fat added around the trunk.
    lungs : float
        Height of the lungs relative to the scan (inspiration).
    heart : float
        Diameter of the heart relative to the scan.
    spine : float
        Sideways bend of the trunk in mm.
    curve : float
        How much of the scanned patient's own scoliosis stays (0 is straight).
    bone : float
        Mineral density relative to the scan.
    column : float
        Mineral density of the spine relative to `bone`'s (less in a hard beam).
    density : float
        Density of lung tissue relative to the scan.
    wobble : int
        Seed of the smooth random displacement.
    """

    width: float = 1.0
    height: float = 1.0
    depth: float = 1.0
    fat: float = 0.0
    lungs: float = 1.0
    heart: float = 1.0
    spine: float = 0.0
    curve: float = 1.0
    bone: float = 1.0
    column: float = 1.0
    density: float = 1.0
    wobble: int = 0


@dataclass(frozen=True)
class Pose:
    """Where the patient, the source and the detector are.

    Attributes
    ----------
    view : {"PA", "AP"}
        PA: the source is behind the patient, the detector in front.
    distance : float
        Source to detector in mm.
    rotate : float
        Turn about the long axis in degrees.
    tip : float
        Leaning back in degrees (the lordotic projection of many AP films).
    tilt : float
        Turn in the plane of the film in degrees.
    shift : tuple of float
        Patient against detector in mm (down, right of the image).
    field : tuple of float
        Height and width of the detector in mm.
    """

    view: str = "PA"
    distance: float = 1800.0
    rotate: float = 0.0
    tip: float = 0.0
    tilt: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    field: tuple[float, float] = (420.0, 400.0)


@dataclass(frozen=True)
class Rays:
    """Where the rays of a film meet the planes of a body.

    Attributes
    ----------
    fields : ndarray of float32, shape (4, H, W, 2)
        (x, z) in mm: constant, per unit of magnification, per mm of depth, and at the heart.
    magnify, depth, heart : ndarray of float32, shape (P,)
        What the last three are multiplied with for each plane.
    oblique : ndarray of float32, shape (H, W)
        Length of a ray in a plane relative to the plane's thickness.
    """

    fields: Float
    magnify: Float
    depth: Float
    heart: Float
    oblique: Float

    def __repr__(self) -> str:
        return f"Rays(shape={self.oblique.shape}, planes={len(self.depth)})"


def aim(body: Body, build: Build, pose: Pose, shape: tuple[int, int]) -> Rays:
    """Work out where each ray meets each plane.

    Parameters
    ----------
    body : Body
        What the rays go through.
    build, pose : Build, Pose
        Patient and set-up.
    shape : tuple of int
        Pixels of the detector (height, width).

    Raises
    ------
    SimulationError
        When a size is not positive or the view is unknown.
    """
    if min(shape) < 1 or min(pose.field) <= 0:
        raise SimulationError(f"a film needs a positive size, not {shape} pixels, {pose.field} mm")
    if pose.view not in ("PA", "AP"):
        raise SimulationError(f"view {pose.view!r} is neither 'PA' nor 'AP'")
    thick = body.extent[0]
    depth = ((np.arange(body.soft.shape[0]) + 0.5) / body.soft.shape[0] - 0.5) * thick
    towards = depth if pose.view == "PA" else -depth
    magnify = (pose.distance - thick / 2 - 60 + towards) / pose.distance
    z, x = (
        ((np.arange(n) + 0.5) / n - 0.5) * size for n, size in zip(shape, pose.field, strict=True)
    )
    rays = np.stack(np.broadcast_arrays(x[None, :], z[:, None]), axis=-1)
    oblique = np.sqrt(1 + (rays**2).sum(-1) / pose.distance**2)
    fields = np.zeros((4, *shape, 2))
    fields[1] = _turn(rays, pose.tilt) / (build.width, build.height)
    middle = fields[1] * magnify.mean()
    fields[0] = _bend(body, build, middle) - np.array(pose.shift)[::-1]
    fields[2] = -np.tan(np.radians((pose.rotate, pose.tip)))
    fields[3] = _heart(body, build, middle + fields[0])
    at_heart = np.exp(-(((depth - body.heart[0]) / 55) ** 2))
    return Rays(
        fields.astype(np.float32),
        magnify.astype(np.float32),
        depth.astype(np.float32),
        at_heart.astype(np.float32),
        oblique.astype(np.float32),
    )


def _turn(points: npt.NDArray[np.float64], degrees: float) -> npt.NDArray[np.float64]:
    """Rotate (x, z) points about the origin."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.asarray(points @ np.array([[cos, sin], [-sin, cos]]))


def _bend(body: Body, build: Build, at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the displacement (x, z) in mm for breath, spine and the random wobble."""
    x, z = at[..., 0], at[..., 1]
    bottom = float(body.lungs[1])
    move = np.zeros(at.shape)
    # Deep breath: what lies at the diaphragm in the scan is met lower on the film.
    weight = 1 / (1 + np.exp(-(z + 20) / 45))
    move[..., 1] -= (build.lungs - 1) * (bottom + 60) * weight
    own = np.polyval(body.spine, np.clip(z / 100, -1.7, 2)) - np.polyval(body.spine, 0)
    move[..., 0] += (1 - build.curve) * own
    move[..., 0] += build.spine * np.sin(np.pi * z / 330 + build.wobble % 7)
    random = np.random.default_rng(build.wobble)
    for axis, size in ((0, 7.0), (1, 9.0)):
        for _ in range(4):
            wave = random.uniform(-1, 1, 2) * np.pi / 130
            phase, height = random.uniform(0, 2 * np.pi), random.normal(0, size / 2)
            move[..., axis] += height * np.sin(wave[0] * x + wave[1] * z + phase)
    return move


def _heart(body: Body, build: Build, at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the displacement (x, z) that makes the heart smaller or larger."""
    offset = at - np.array([body.heart[2], body.heart[1]])
    near = np.exp(-(((offset / (75, 65)) ** 2).sum(-1) ** 1.5))
    return np.asarray(offset * near[..., None] * (1 / build.heart - 1))


def integrate(planes: Float, rays: Rays, extent: tuple[float, float, float]) -> Float:
    """Sum the planes along the rays.

    Parameters
    ----------
    planes : ndarray of float32, shape (P, h, w)
        Attenuation per mm, or any other density.
    rays : Rays
        From `aim`; the planes must span the body that was aimed at, at any resolution.
    extent : tuple of float
        Depth, height and width of the stack in mm.

    Returns
    -------
    ndarray of float32, shape (H, W)
        The path integral.
    """
    half = torch.tensor([2 / extent[2], 2 / extent[1]], dtype=torch.float32)
    fixed, cone, slope, heart = (torch.from_numpy(f) * half for f in rays.fields)
    total = torch.zeros(rays.oblique.shape)
    stack = torch.from_numpy(planes)
    for index in np.flatnonzero(planes.reshape(len(planes), -1).any(axis=1)):
        grid = torch.add(fixed, cone, alpha=float(rays.magnify[index]))
        grid.add_(slope, alpha=float(rays.depth[index]))
        grid.add_(heart, alpha=float(rays.heart[index]))
        total += functional.grid_sample(
            stack[index][None, None], grid[None], padding_mode="zeros", align_corners=False
        )[0, 0]
    step = extent[0] / len(planes)
    return np.asarray(total.numpy() * rays.oblique * np.float32(step))
