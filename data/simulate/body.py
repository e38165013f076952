"""The body that rays are sent through: the CT as a stack of coronal planes of attenuation.

The table and the contrast agent are taken out, neck, shoulders and abdomen are extended beyond
the scanned range, and the voxels become attenuation per mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from simulate.errors import SimulationError
from simulate.grid import centre_of, coronal_planes, edges_of, fit_spine, nearest
from simulate.volume import CtScan

Float = npt.NDArray[np.float32]

MU_WATER = 0.0185  # attenuation of water per mm at about 75 keV
_BONES = [*range(25, 51), *range(69, 79), 91, *range(92, 119)]
_VERTEBRAE = [*range(25, 51)]
_UP, _DOWN, _SIDE = 110.0, 70.0, 60.0  # mm added above, below and on each side


@dataclass(frozen=True)
class Body:
    """Coronal planes of attenuation, back to front; row 0 is the top, column 0 the right side.

    Attributes
    ----------
    soft, bone, column : ndarray of float32, shape (P, H, W)
        Attenuation per mm of everything, bone counted as water; the excess over water of all bone
        but the spine; and that of the spine.
    lobes : ndarray of int16, shape (P, h, w)
        Lobe labels on a coarser grid of the same extent.
    lung_mu : ndarray of float32, shape (P, h, w)
        `soft` on that grid.
    heart : ndarray of float32, shape (3,)
        Centre of the heart (depth, z, x) in mm from the centre of the stack.
    lungs : ndarray of float32, shape (4,)
        Top, bottom, left edge and right edge of the lungs in mm from the centre.
    spine : ndarray of float32, shape (3,)
        Parabola of the spine's lateral place in mm against (z / 100 mm), highest power first.
    extent : tuple of float
        Depth, height and width of the stack in mm.
    """

    soft: Float
    bone: Float
    column: Float
    lobes: npt.NDArray[np.int16]
    lung_mu: Float
    heart: Float
    lungs: Float
    spine: Float
    extent: tuple[float, float, float]

    def __repr__(self) -> str:
        return f"Body(planes={self.soft.shape}, extent={self.extent})"


def make_body(scan: CtScan, *, plane_mm: float = 2.5, pixel_mm: float = 1.0) -> Body:
    """Turn a CT into the stack of planes that rays are sent through.

    Parameters
    ----------
    scan : CtScan
        The volume.
    plane_mm, pixel_mm : float
        Distance of the coronal planes, and of the voxels in a plane.

    Raises
    ------
    SimulationError
        When a distance is not positive.
    """
    if plane_mm <= 0 or pixel_mm <= 0:
        raise SimulationError(f"voxels must be larger than 0 mm, not {plane_mm} x {pixel_mm}")
    hu, skin = clean(scan)
    bones = find_bones(scan.labels)
    box = ndimage.find_objects(skin.astype(np.uint8))[0]
    depth = slice(max(box[1].start - 4, 0), box[1].stop + 4)
    hu, bones, labels = hu[:, depth], bones[:, depth], scan.labels[:, depth]
    hu, bones, labels = extend(hu, bones, labels, scan.spacing)
    density = np.clip(1 + hu / 1000, 0, None)
    excess = np.clip(density - 1.06, 0, 2)
    soft = coronal_planes(np.minimum(density, 1.06), scan.spacing, plane_mm, pixel_mm)
    bone, column = (
        coronal_planes(np.where(bones == kind, excess, 0), scan.spacing, plane_mm, pixel_mm)
        for kind in (1, 2)
    )
    step = round(2 / pixel_mm) or 1
    lobes = np.where((labels >= 10) & (labels <= 14), labels, 0)
    grid = soft[:, ::step, ::step].shape
    lobes = nearest(lobes[::-1].transpose(1, 0, 2), grid)
    extent = (grid[0] * plane_mm, soft.shape[1] * pixel_mm, soft.shape[2] * pixel_mm)
    return Body(
        soft * np.float32(MU_WATER),
        bone * np.float32(MU_WATER),
        column * np.float32(MU_WATER),
        lobes,
        soft[:, ::step, ::step] * np.float32(MU_WATER),
        centre_of(nearest((labels == 51)[::-1].transpose(1, 0, 2), grid), extent),
        edges_of(lobes > 0, extent),
        fit_spine(np.isin(scan.labels, _VERTEBRAE), scan.spacing, soft.shape, pixel_mm, _DOWN),
        extent,
    )


def find_bones(labels: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """Return 0 for soft tissue, 1 for bone, 2 for the spine, each bone grown by one voxel."""
    bones = ndimage.binary_dilation(np.isin(labels, _BONES)).astype(np.uint8)
    bones[ndimage.binary_dilation(np.isin(labels, _VERTEBRAE))] = 2
    return bones


def clean(scan: CtScan) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return HU without table and contrast agent, and the mask of the body."""
    hu = np.clip(scan.hu, -1000, 2500).astype(np.float32)
    small = ndimage.uniform_filter(hu, (1, 3, 3))[:, ::2, ::2] > -350
    small = ndimage.binary_opening(small, np.ones((1, 5, 5), bool))
    parts, count = ndimage.label(small)
    if count == 0:
        raise SimulationError("no body found in the CT: every voxel is air")
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    closed = ndimage.binary_closing(largest, np.ones((1, 7, 7), bool)) | largest
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in closed])
    filled = ndimage.binary_dilation(filled, np.ones((1, 3, 3), bool))
    skin = np.repeat(np.repeat(filled, 2, axis=1), 2, axis=2)[:, : hu.shape[1], : hu.shape[2]]
    hu[~skin] = -1000
    hu[(hu > 90) & (find_bones(scan.labels) == 0)] = 50  # contrast agent, metal and their streaks
    undiluted = ndimage.binary_dilation(hu > 1450, iterations=3)  # in a vein beside a rib
    hu[undiluted & (hu > 300)] = 50
    return hu, skin


def extend(
    hu: Float,
    bones: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int16],
    spacing: tuple[float, float, float],
) -> tuple[Float, npt.NDArray[np.uint8], npt.NDArray[np.int16]]:
    """Add an abdomen below, neck and shoulders above, and soft tissue where the scan was cut.

    Nothing of this is lung, so no lesion ever lies in what was added.
    """
    up, down = round(_UP / spacing[0]), round(_DOWN / spacing[0])
    side = round(_SIDE / spacing[2])
    height = hu.shape[0]
    # Below, the abdomen is reflected. Above, the top 20 mm (one vertebra) go to and fro.
    period = min(round(20 / spacing[0]), height)
    swing = np.abs((np.arange(up) + period) % (2 * period) - period)
    order = np.r_[np.arange(min(down, height))[::-1], np.arange(height), height - 1 - swing]
    tube = np.pad(hu[order], ((0, 0), (0, 0), (side, side)), constant_values=-1000)
    tube = _fill_sides(tube, side)
    osseous = np.pad(bones[order], ((0, 0), (0, 0), (side, side)))
    marked = np.zeros(tube.shape, np.int16)
    first = min(down, height)
    marked[first : first + height, :, side : side + hu.shape[2]] = labels
    _raise_neck(tube, osseous, first + height, spacing)
    return tube.astype(np.float32), osseous, marked


def _fill_sides(hu: Float, side: int) -> Float:
    """Carry soft tissue outward where the scanner's field cut the shoulders."""
    for edge, step in ((side + 3, -1), (hu.shape[2] - side - 4, 1)):
        cut = (hu[:, :, edge] > -300).astype(np.float32)
        for k in range(1, side + 4):
            column = edge + step * k
            # The shoulder gets thinner outward: its front, back and lower edge recede.
            near = ndimage.uniform_filter(cut, (1 + k // 2, 1 + 2 * k))
            hu[:, :, column] = np.where(near > 0.5 + 0.4 * k / side, 20, hu[:, :, column])
    return hu


def _raise_neck(
    tube: Float, bones: npt.NDArray[np.uint8], top: int, spacing: tuple[float, float, float]
) -> None:
    """Shape the slices above `top` into shoulders that slope into a neck, in place."""
    body = tube[top - 1] > -300
    y, x = np.indices(body.shape)
    middle = np.argwhere(body).mean(axis=0) if body.any() else np.array(body.shape) / 2
    spine = ndimage.gaussian_filter1d((bones[top - 1] > 0).sum(axis=0).astype(float), 20)
    spine[np.abs(np.arange(len(spine)) - middle[1]) * spacing[2] > 40] = -1
    lateral = np.abs(x - np.argmax(spine)) * spacing[2]
    deep = np.abs(y - middle[0]) * spacing[1]
    half = body.shape[1] / 2 * spacing[2]
    for k in range(top, tube.shape[0]):
        up = (k + 1 - top) * spacing[0]
        width = 58 + (half - 58) * np.exp(-((up / 38) ** 2))
        thick = 60 + 90 * np.exp(-up / 30)
        inside = ((lateral / width) ** 3 + (deep / thick) ** 3 < 1) & body
        # The spine goes on, the heads of the arms are closed, the collar bones end.
        bones[k] *= inside & ((lateral < 24) | ((lateral > 80) & (up < 20)))
        tissue = np.where(bones[k] > 0, tube[k], np.minimum(tube[k], 20))
        tube[k] = np.where(inside, tissue, -1000)
    tube[top:] = ndimage.gaussian_filter1d(tube[top:], 1.5, axis=0, mode="nearest")
