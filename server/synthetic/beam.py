"""The X-ray beam and its detector: from mineral and soft tissue along the beam to grey levels.

Owns the scanner and the physics that every phantom shares: trabecular texture, a veil of scatter,
automatic exposure, blur, quantum noise, a log detector. Knows no body part; BMD is no argument here.
Imports solids of this package, numpy and scipy.

Legend: h w pixels; lengths in mm unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from server.synthetic.solids import Array, Chords

TISSUE_MINERAL_G_CM3 = 1.05  # mineral of fully calcified bone matrix: BV/TV 1 has this density
CORTEX_MINERAL_G_CM3 = 1.0  # the cortex is porous, about 5 % less
# Scatter over primary without a grid: about 3 at 20 cm of water in a 30 x 30 cm field, rising about
# linearly from 10 to 30 cm (slabs: Johns & Yaffe, Med Phys 1982;9:231; textbook curves: Bushberg et
# al., The Essential Physics of Medical Imaging). A straight line through them, not a fit to data.
SCATTER_PER_CM = 0.15
AIR_CM = 1.0  # less than this is no body to automatic exposure
FULL_SCALE = 4095  # 12 stored bits
TEXTURE_BAND = 0.55  # cycles per mm on either axis: what pixels of the usual size can show
SATURATION = 2.0  # the detector's range above the mean exposure, in log exposure


@dataclass(frozen=True)
class Scanner:
    """One X-ray unit; every constant is a property of the machine, none of the patient.

    ``grid_leak`` is scatter over primary transmission of the anti-scatter grid; ``mineral_cm2_g``
    the mass attenuation of bone mineral in its beam; ``gain`` grey levels per unit of log exposure.
    """

    vendor: str
    model: str
    rows: int
    columns: int
    pixel_mm: float
    gain: float
    offset: float
    tone: float
    sharpening: float
    blur_mm: float
    quanta: float
    electronic_noise: float
    grid_leak: float
    mineral_cm2_g: float


def add_mineral(mineral: Array, bone: Chords, modulation: Array) -> None:
    """Add a bone's g/cm²: cortex, and trabecular bone modulated by its texture."""
    mineral[bone.box] += np.float32(0.1 * CORTEX_MINERAL_G_CM3) * (bone.outer - bone.marrow)
    mineral[bone.box] += np.float32(0.1 * TISSUE_MINERAL_G_CM3) * bone.spongy * modulation[bone.box]


def draw_texture(
    scanner: Scanner, exponent: float, rng: np.random.Generator, *, grain: float = 1.0
) -> Array:
    """Random field [h,w] whose power falls as frequency^-exponent (cycles per mm).

    Its variance is 1 within ``TEXTURE_BAND``: finer pixels show more detail of the same texture.
    ``grain``: how many times as long down the film as across; 1 has no direction.
    """
    log_frequency, in_band = _frequencies(scanner.rows, scanner.columns, scanner.pixel_mm, grain)
    amplitude = np.exp(np.float32(-0.5 * exponent) * log_frequency)
    spectrum = np.empty(amplitude.shape, np.complex64)
    spectrum.real = rng.standard_normal(amplitude.shape, np.float32) * amplitude
    spectrum.imag = rng.standard_normal(amplitude.shape, np.float32) * amplitude
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    field: Array = fft.irfft2(spectrum, s=(scanner.rows, scanner.columns))
    # Parseval: the sum of power over all frequencies is size times the sum of squares
    field *= np.float32(field.size / np.sqrt(float(np.vdot(power, in_band))))
    return field


def modulate(texture: Array, contrast: float) -> Array:
    """What trabecular mineral is multiplied by [h,w]: 1 on average, never below 0."""
    modulation: Array = np.maximum(1 + np.float32(contrast) * texture, 0)
    return modulation


def expose(
    log_primary: Array,
    scatter: float,
    scanner: Scanner,
    measured: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Array:
    """Detected quanta per pixel [h,w], after exposure to a fixed mean where it is measured.

    Args:
        log_primary: logarithm of the primary beam that passes the patient [h,w], up to a constant.
        scatter: scatter over mean primary, behind the grid.
        scanner: the unit.
        measured: where automatic exposure looks [h,w].
        rng: draws the exposure's error and the quanta.
    """
    primary = np.exp(log_primary)
    # the scatter kernel is as wide as the field: scatter is a flat veil over it
    scatter *= float(primary.mean(where=measured))
    beam = ndimage.gaussian_filter(
        primary, scanner.blur_mm / scanner.pixel_mm, mode="nearest", truncate=3.0
    )
    beam += np.float32(scatter)
    beam *= np.float32(
        scanner.quanta * np.exp(rng.normal(0.0, 0.08)) / float(beam.mean(where=measured))
    )
    # Poisson at these counts is normal with variance = mean
    noise: Array = rng.standard_normal(beam.shape, np.float32)
    noise *= np.sqrt(beam + np.float32(scanner.electronic_noise**2))
    noise += beam
    return noise


def detect(
    exposure: Array, measured: NDArray[np.bool_], scanner: Scanner, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Grey levels [h,w]: log detector, vendor's sharpening and tone; the measured mean is fixed."""
    density = -np.log(np.maximum(exposure, 1.0))
    density -= density.mean(where=measured)
    np.maximum(density, -SATURATION, out=density)  # air: the detector's end
    if scanner.sharpening:
        smooth = ndimage.uniform_filter(density, 9, mode="nearest")
        density += np.float32(scanner.sharpening) * (density - smooth)
    density += np.float32(scanner.tone) * density * np.abs(density)
    density -= density.mean(where=measured)
    grey = np.float32(scanner.gain) * density + np.float32(scanner.offset + rng.normal(0.0, 8.0))
    pixels: NDArray[np.uint16] = np.clip(np.rint(grey), 0, FULL_SCALE).astype(np.uint16)
    return pixels


@lru_cache(maxsize=16)
def _frequencies(rows: int, columns: int, pixel_mm: float, grain: float) -> tuple[Array, Array]:
    """Logarithm of each frequency's length, and its weight in the power of the texture's band."""
    vertical = np.abs(np.fft.fftfreq(rows, pixel_mm))[:, None]
    horizontal = np.fft.rfftfreq(columns, pixel_mm)[None, :]
    # below one cycle in 25 mm the spectrum is flat: a trabecular field has no longer waves
    length = np.maximum(np.hypot(grain * vertical, horizontal), 0.04)
    # a real field's spectrum is stored by half: inner columns stand for two; the mean is no power
    weight = np.where(np.maximum(vertical, horizontal) <= TEXTURE_BAND, np.float32(2.0), np.float32(0))
    weight[:, 0] /= 2
    if columns % 2 == 0:
        weight[:, -1] /= 2
    weight[0, 0] = 0
    return np.log(length).astype(np.float32), weight
