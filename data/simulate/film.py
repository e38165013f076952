"""From the path integral to a film: scatter, blur, quantum noise, response, markers, things worn.

The film is float, dense = bright: 0 is the black and 1 the white of the display window. Values
beyond both exist, so that a DICOM file can keep them under its window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

Float = npt.NDArray[np.float32]
OWN = 0.72  # weight of a film's own histogram against that of the healthy twin
AIR = 0.35  # logarithm of the signal below which no patient is in the ray
DISTRACTORS = ("none", "electrodes", "line", "skin fold", "calcified nodule")


@dataclass(frozen=True)
class Exposure:
    """How a film was exposed, processed and framed.

    Attributes
    ----------
    scatter : float
        Scattered relative to primary radiation behind the patient.
    photons : float
        Quanta per pixel without a patient.
    blur : float
        Standard deviation of focal spot and detector in pixels.
    sharpen : float
        Strength of the edge enhancement of the processing.
    equalise : float
        How far the processing evens out slow changes of brightness, 0 to 1.
    tone : tuple of float
        Amplitudes of the waves by which the slope of the response departs from a power curve's.
    black, middle, white : float
        Brightness of the thinnest, the median and the thickest part of the patient.
    collimation : tuple of float
        Shuttered fraction at the top, bottom, left and right.
    marker : str
        Lead letter, "L" or "R".
    marker_at : tuple of float
        Its place as a fraction of (height, width).
    distractor : str
        One of `DISTRACTORS`.
    seed : int
        Of the noise and of the distractor's place.
    """

    scatter: float = 1.0
    photons: float = 4e4
    blur: float = 0.6
    sharpen: float = 0.5
    equalise: float = 0.3
    tone: tuple[float, ...] = (0.0,)
    black: float = 0.12
    middle: float = 0.55
    white: float = 0.95
    collimation: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    marker: str = "R"
    marker_at: tuple[float, float] = (0.08, 0.06)
    distractor: str = "none"
    seed: int = 0


def expose(path: Float, exposure: Exposure) -> Float:
    """Return the logarithm of the signal that reaches the detector (dense = high).

    Parameters
    ----------
    path : ndarray of float32, shape (H, W)
        Path integral of attenuation.
    exposure : Exposure
        Scatter, photons, blur and seed are used.
    """
    rng = np.random.default_rng(exposure.seed)
    primary = np.exp(-path)
    wide = 0.07 * path.shape[1]
    small = ndimage.zoom(primary, 0.125, order=1)
    scattered = ndimage.gaussian_filter(small, wide / 8, mode="nearest")
    factors = np.array(path.shape) / small.shape
    veil = ndimage.zoom(scattered, factors, order=1)[: path.shape[0], : path.shape[1]]
    behind = path > 0.05
    level = float(np.median(primary[behind])) if behind.any() else 1.0
    signal = primary + exposure.scatter * np.minimum(veil, 3 * level)
    signal = ndimage.gaussian_filter(signal, exposure.blur) if exposure.blur > 0 else signal
    quanta = np.clip(signal, 1e-5, None) * exposure.photons
    noise = rng.standard_normal(path.shape, dtype=np.float32)
    counted = np.clip(quanta + np.sqrt(quanta) * noise, 1, None)
    return np.asarray(-np.log(counted / exposure.photons), dtype=np.float32)


def develop(log_signal: Float, exposure: Exposure, *, like: Float | None = None) -> Float:
    """Sharpen, even out and map to display brightness.

    The histogram of the patient's film is brought to one drawn per film, as the histogram
    analysis of a digital detector does.

    Parameters
    ----------
    log_signal : ndarray of float32, shape (H, W)
        From `expose`.
    exposure : Exposure
        Sharpen, equalise, black, middle and white are used.
    like : ndarray of float32, shape (H, W), optional
        The healthy twin's film, whose histogram counts too: between the two, neither the whole
        film nor what lies outside the lungs gets brighter or darker with disease.
    """
    like = log_signal if like is None else like
    image, reference = _process(log_signal, exposure), _process(like, exposure)
    body = like > AIR
    body = body if body.mean() > 0.05 else np.ones_like(body)
    # A power curve through the three anchors, straight on beyond its ends. Steps of 3 % keep the
    # response smooth.
    share = np.linspace(0.005, 0.985, 34)
    levels = OWN * np.quantile(image[body][::5], share)
    levels += (1 - OWN) * np.quantile(reference[body][::5], share)
    levels += np.arange(len(levels)) * 1e-6
    at = (share - share[0]) / (share[-1] - share[0])
    aim_at = (exposure.middle - exposure.black) / (exposure.white - exposure.black)
    goal = exposure.black + (exposure.white - exposure.black) * at ** (np.log(aim_at) / np.log(0.5))
    waves = [a * np.cos(np.pi * (k + 1) * at[1:]) for k, a in enumerate(exposure.tone)]
    steps = np.diff(goal) * np.exp(np.sum(waves, axis=0))  # stays monotone
    span = exposure.white - exposure.black
    goal = exposure.black + span * np.append(0, np.cumsum(steps)) / steps.sum()
    film = np.interp(image, levels, goal)
    slope = (goal[-1] - goal[0]) / (levels[-1] - levels[0])
    film += slope * (np.minimum(image - levels[0], 0) + np.maximum(image - levels[-1], 0))
    return np.asarray(film, dtype=np.float32)


def _process(log_signal: Float, exposure: Exposure) -> Float:
    """Sharpen and even out."""
    height = log_signal.shape[0]
    slow = ndimage.gaussian_filter(ndimage.zoom(log_signal, 0.25, order=1), 0.06 * height / 4)
    slow = ndimage.zoom(slow, np.array(log_signal.shape) / slow.shape, order=1)
    fine = log_signal - ndimage.gaussian_filter(log_signal, 0.012 * height)
    return np.asarray(log_signal - exposure.equalise * slow + exposure.sharpen * fine)


def frame(film: Float, exposure: Exposure) -> Float:
    """Shutter the borders and set the lead marker.

    Parameters
    ----------
    film : ndarray of float32, shape (H, W)
        From `develop`.
    exposure : Exposure
        Collimation and marker are used.
    """
    out = film.copy()
    height, width = film.shape
    top, bottom, left, right = exposure.collimation
    out[: round(top * height)] = 0
    out[height - round(bottom * height) :] = 0
    out[:, : round(left * width)] = 0
    out[:, width - round(right * width) :] = 0
    size = max(round(0.05 * height), 9)
    letter = text(exposure.marker, size)
    row = min(round(exposure.marker_at[0] * height), height - letter.shape[0])
    column = min(round(exposure.marker_at[1] * width), width - letter.shape[1])
    patch = out[row : row + letter.shape[0], column : column + letter.shape[1]]
    patch[:] = np.where(letter > 0.5, np.maximum(patch, 0.97), patch)
    return out


def text(words: str, size: int) -> Float:
    """Return words drawn as a mask in [0, 1], `size` pixels high."""
    font = ImageFont.load_default(size=size)
    left, top, right, bottom = font.getbbox(words)
    image = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(image).text((1 - left, 1 - top), words, fill=255, font=font)
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def wear(shape: tuple[int, int], exposure: Exposure, pixel: float) -> Float:
    """Return the path integral of a distractor.

    Parameters
    ----------
    shape : tuple of int
        Pixels (height, width).
    exposure : Exposure
        Distractor and seed are used.
    pixel : float
        Millimetres per pixel.
    """
    rng = np.random.default_rng(exposure.seed + 1)
    y, x = np.indices(shape, dtype=np.float32) * pixel
    tall, wide = shape[0] * pixel, shape[1] * pixel
    out = np.zeros(shape, np.float32)
    if exposure.distractor == "electrodes":
        for _ in range(3):
            at = rng.uniform(0.15, 0.75) * tall, rng.uniform(0.15, 0.85) * wide
            far = np.hypot(y - at[0], x - at[1])
            out += 0.25 * (far < 9) + 1.5 * (far < 3.5)
            slope = rng.uniform(-0.5, 0.5)
            wire = np.abs(x - at[1] - slope * (y - at[0]) - 8 * np.sin((y - at[0]) / 40))
            out += 0.9 * np.clip(1.2 - wire, 0, 1) * (y > at[0])
    elif exposure.distractor == "line":
        start, bend = rng.uniform(0.35, 0.65) * wide, rng.uniform(-25, 25)
        course = start + bend * np.sin(y / tall * np.pi * rng.uniform(0.8, 1.6))
        away = np.abs(x - course)
        out += 0.45 * np.clip(1.8 - away, 0, 1) * (y < rng.uniform(0.35, 0.6) * tall)
    elif exposure.distractor == "skin fold":
        slope, start = rng.uniform(-0.35, 0.35), rng.uniform(0.2, 0.8) * wide
        beside = x - start - slope * y
        upto = np.clip((rng.uniform(0.5, 0.95) * tall - y) / 20, 0, 1)
        out += 0.22 * np.clip(1 - beside / 28, 0, 1) * (beside > 0) * upto
    elif exposure.distractor == "calcified nodule":
        at = rng.uniform(0.25, 0.6) * tall, rng.choice([0.3, 0.7]) * wide + rng.uniform(-25, 25)
        far = np.hypot(y - at[0], x - at[1])
        out += 0.8 * np.clip(rng.uniform(3, 5.5) - far, 0, 2) / 2
    return out
