"""Renders a hip AP film: from bone, soft tissue and scanner to detector values.

Owns the anatomy, the X-ray physics and the scanner. A femur is a union of hollow tapered solids
(head, neck, trochanters, shaft): a cortex around trabecular bone whose texture follows a power law.
Beer–Lambert attenuation, scatter that rises with soft-tissue thickness, automatic exposure, blur,
quantum noise and a log detector follow. BMD is no argument here: a film sees only physical
quantities, which is what makes ``draw_public_film`` fit for pretraining. Imports numpy and scipy.

Legend: h w pixels; lengths in mm unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Side = Literal["left", "right"]
Array = NDArray[np.float32]

TISSUE_MINERAL_G_CM3 = 1.05  # mineral of fully calcified bone matrix: BV/TV 1 has this density
CORTEX_MINERAL_G_CM3 = 1.0  # the cortex is porous, about 5 % less
SOFT_TISSUE_PER_CM = 0.21  # linear attenuation of muscle near 50 keV (NIST XCOM: 0.23 at 50 keV)
# Scatter over primary without a grid: about 3 at 20 cm of water in a 30 x 30 cm field, rising about
# linearly from 10 to 30 cm (slabs: Johns & Yaffe, Med Phys 1982;9:231; textbook curves: Bushberg et
# al., The Essential Physics of Medical Imaging). A straight line through them, not a fit to data.
SCATTER_PER_CM = 0.15
FIELD_TERMS = 5  # cosine terms per axis of the soft-tissue thickness
FULL_SCALE = 4095  # 12 stored bits


@dataclass(frozen=True)
class HipAnatomy:
    """One hip: what the film can show.

    ``trabecular_share`` is the mineralised share of the marrow space (BV/TV); ``cortical_mm`` the
    cortex of the femoral neck; ``texture_exponent`` the slope of the trabecular power spectrum
    (higher in healthy bone: Benhamou et al., J Bone Miner Res 2001;16:697).
    """

    side: Side
    cortical_mm: float
    trabecular_share: float
    texture_exponent: float
    texture_contrast: float
    shaft_cortex_ratio: float
    pelvis_share: float
    scale: float
    neck_shaft_degrees: float
    soft_tissue_cm: float


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


@dataclass(frozen=True)
class Film:
    """Raw grey levels, bone bright, with the bone mask and the physical truth behind them."""

    pixels: NDArray[np.uint16]
    bone_mask: NDArray[np.bool_]
    side: Side
    cortical_mm: float
    trabecular_share: float
    texture_exponent: float
    pixel_mm: float


@dataclass(frozen=True)
class _Solid:
    """A tapered hollow capsule: axis a → b, outer radii, cortex and filling at both ends."""

    a: tuple[float, float]
    b: tuple[float, float]
    radius: tuple[float, float]
    cortex: tuple[float, float]
    filling: tuple[float, float]


def soft_tissue_cm(bmi: float, rng: np.random.Generator) -> float:
    """AP thickness over the hip: 17 cm at BMI 25, 0.55 cm per kg/m², SD 1.2 cm between people."""
    return float(np.clip(17.0 + 0.55 * (bmi - 25.0) + rng.normal(0.0, 1.2), 9.0, 34.0))


def random_scanner(rng: np.random.Generator) -> Scanner:
    """A scanner drawn over a range wider than any hospital's, for public pretraining films."""
    size = int(rng.choice((144, 150, 160)))  # products of 2, 3 and 5: quick Fourier transforms
    return Scanner(
        vendor="Public",
        model="Varied",
        rows=size,
        columns=int(rng.choice((144, 150, 160))),
        pixel_mm=float(140.0 / size * rng.uniform(0.92, 1.08)),
        gain=float(rng.uniform(450.0, 1100.0)),
        offset=float(rng.uniform(1600.0, 2400.0)),
        tone=float(rng.uniform(-0.25, 0.25)),
        sharpening=float(rng.uniform(0.0, 0.6)),
        blur_mm=float(rng.uniform(0.3, 1.3)),
        quanta=float(np.exp(rng.uniform(np.log(1200.0), np.log(12000.0)))),
        electronic_noise=float(rng.uniform(2.0, 15.0)),
        grid_leak=float(rng.uniform(0.12, 0.32)),
        mineral_cm2_g=float(rng.uniform(0.48, 0.72)),
    )


def draw_public_film(rng: np.random.Generator) -> Film:
    """A film whose physical quantities are drawn widely and independently: it has no BMD."""
    anatomy = HipAnatomy(
        side="left" if rng.random() < 0.5 else "right",
        cortical_mm=float(rng.uniform(0.6, 3.2)),
        trabecular_share=float(rng.uniform(0.03, 0.26)),
        texture_exponent=float(rng.uniform(0.8, 3.6)),
        texture_contrast=float(rng.uniform(0.15, 0.45)),
        shaft_cortex_ratio=float(rng.normal(3.0, 0.35)),
        pelvis_share=float(rng.uniform(0.04, 0.24)),
        scale=float(rng.normal(1.0, 0.08)),
        neck_shaft_degrees=float(rng.normal(128.0, 6.0)),
        soft_tissue_cm=soft_tissue_cm(float(rng.uniform(17.0, 42.0)), rng),
    )
    return render_hip(anatomy, random_scanner(rng), rng)


def render_hip(anatomy: HipAnatomy, scanner: Scanner, rng: np.random.Generator) -> Film:
    """A film of this hip on this scanner; pose, soft-tissue folds and quanta come from ``rng``.

    Shapes: pixels and bone_mask are [scanner.rows, scanner.columns].
    """
    x, y = _pose(anatomy, scanner, rng)
    outer, marrow, spongy = _project(_femur(anatomy, rng), x, y)
    texture = _texture(scanner, anatomy.texture_exponent, rng)
    # [h,w] g/cm²: cortex plus trabecular bone modulated by its texture
    mineral = np.float32(0.1 * CORTEX_MINERAL_G_CM3) * (outer - marrow)
    mineral += np.float32(0.1 * TISSUE_MINERAL_G_CM3) * spongy * _modulation(texture, anatomy)
    mineral += _pelvis(anatomy, x, y)
    exposure = _expose(mineral, _soft_tissue(anatomy, scanner, rng), anatomy, scanner, rng)
    return Film(
        pixels=_detect(exposure, scanner, rng),
        bone_mask=outer > 0,
        side=anatomy.side,
        cortical_mm=anatomy.cortical_mm,
        trabecular_share=anatomy.trabecular_share,
        texture_exponent=anatomy.texture_exponent,
        pixel_mm=scanner.pixel_mm,
    )


def _pose(anatomy: HipAnatomy, scanner: Scanner, rng: np.random.Generator) -> tuple[Array, Array]:
    """Pixel coordinates in the femur's own frame: shifted, rotated, magnified, mirrored."""
    x, y = _pixel_grid(scanner.rows, scanner.columns, scanner.pixel_mm)
    if anatomy.side == "left":
        x = -x
    turn = np.deg2rad(rng.normal(0.0, 5.0))
    zoom = np.float32(1.0 / (anatomy.scale * rng.normal(1.0, 0.03)))
    shift_x, shift_y = rng.normal(0.0, 5.0, 2).astype(np.float32)
    cosine, sine = np.float32(np.cos(turn)) * zoom, np.float32(np.sin(turn)) * zoom
    moved_x, moved_y = x - shift_x, y - shift_y
    return cosine * moved_x - sine * moved_y, sine * moved_x + cosine * moved_y


def _femur(anatomy: HipAnatomy, rng: np.random.Generator) -> tuple[_Solid, ...]:
    """Head, neck, greater and lesser trochanter, shaft, in a right hip's frame (medial = +x)."""
    angle = np.deg2rad(anatomy.neck_shaft_degrees)
    # rotation of the leg foreshortens the neck on the film
    length = 46.0 * np.cos(np.deg2rad(rng.normal(0.0, 15.0)))
    base = (-14.0, 6.0)
    head = (base[0] + length * float(np.sin(angle)), base[1] + length * float(np.cos(angle)))
    cortex, filling = anatomy.cortical_mm, anatomy.trabecular_share
    shaft_cortex = cortex * anatomy.shaft_cortex_ratio
    return (
        _Solid(head, head, (23.5, 23.5), (0.5 * cortex, 0.5 * cortex), (1.25 * filling,) * 2),
        _Solid(base, head, (19.0, 16.0), (1.2 * cortex, cortex), (0.8 * filling, filling)),
        _Solid(
            (base[0] - 3.0, base[1]),
            (base[0] - 13.0, base[1] - 21.0),
            (16.0, 10.0),
            (0.7 * cortex, 0.5 * cortex),
            (0.7 * filling, 0.7 * filling),
        ),
        _Solid(
            (base[0] + 10.0, base[1] + 30.0),
            (base[0] + 13.0, base[1] + 34.0),
            (9.0, 7.0),
            (0.8 * cortex, 0.8 * cortex),
            (0.6 * filling, 0.6 * filling),
        ),
        _Solid(
            base,
            (base[0] + 3.0, base[1] + 130.0),
            (20.0, 13.0),
            (1.2 * cortex, 2.0 * shaft_cortex),
            (0.8 * filling, 0.1 * filling),
        ),
    )


def _project(solids: tuple[_Solid, ...], x: Array, y: Array) -> tuple[Array, Array, Array]:
    """Path lengths through the union [h,w]: outer (mm), marrow (mm), marrow weighted by filling.

    Taking the largest chord per layer joins the solids without inner walls.
    """
    outer = np.zeros_like(x)
    marrow = np.zeros_like(x)
    spongy = np.zeros_like(x)
    for solid in solids:
        share, distance2 = _along(solid, x, y)
        radius = _taper(solid.radius, share)
        inner = radius - _taper(solid.cortex, share)
        np.maximum(outer, radius * radius - distance2, out=outer)
        # a cortex thicker than the bone leaves no marrow
        hollow = np.maximum(inner, 0) ** 2 - distance2
        np.maximum(marrow, hollow, out=marrow)
        hollow *= np.square(_taper(solid.filling, share))
        np.maximum(spongy, hollow, out=spongy)
    for half_chord2 in (outer, marrow, spongy):
        np.sqrt(half_chord2, out=half_chord2)
        half_chord2 *= 2
    return outer, marrow, spongy


def _along(solid: _Solid, x: Array, y: Array) -> tuple[Array | np.float32, Array]:
    """Where along the axis each pixel lies (0 at a, 1 at b), and its squared distance from it."""
    (ax, ay), (bx, by) = solid.a, solid.b
    dx, dy = x - np.float32(ax), y - np.float32(ay)
    across = np.float32(bx - ax), np.float32(by - ay)
    length2 = across[0] ** 2 + across[1] ** 2
    share: Array | np.float32 = np.float32(0)
    if length2 > 0:
        share = dx * (across[0] / length2)
        share += dy * (across[1] / length2)
        np.clip(share, 0, 1, out=share)
        dx -= share * across[0]
        dy -= share * across[1]
    dx *= dx
    dy *= dy
    dx += dy
    return share, dx


def _taper(ends: tuple[float, float], share: Array | np.float32) -> Array | np.float32:
    if ends[0] == ends[1]:
        return np.float32(ends[0])
    return np.float32(ends[0]) + np.float32(ends[1] - ends[0]) * share


def _texture(scanner: Scanner, exponent: float, rng: np.random.Generator) -> Array:
    """Unit-variance random field [h,w] whose power falls as frequency^-exponent (cycles per mm)."""
    log_frequency = _log_frequency(scanner.rows, scanner.columns, scanner.pixel_mm)
    amplitude = np.exp(np.float32(-0.5 * exponent) * log_frequency)
    spectrum = np.empty(amplitude.shape, np.complex64)
    spectrum.real = rng.standard_normal(amplitude.shape, np.float32) * amplitude
    spectrum.imag = rng.standard_normal(amplitude.shape, np.float32) * amplitude
    field: Array = fft.irfft2(spectrum, s=(scanner.rows, scanner.columns))
    field *= np.float32(1.0 / field.std())
    return field


def _modulation(texture: Array, anatomy: HipAnatomy) -> Array:
    modulation: Array = np.maximum(1 + np.float32(anatomy.texture_contrast) * texture, 0)
    return modulation


def _pelvis(anatomy: HipAnatomy, x: Array, y: Array) -> Array:
    """Acetabulum behind the head: a ring open towards the femur, mineral in g/cm²."""
    # the socket surrounds the usual head centre, on its medial and upper side
    dx, dy = x - np.float32(21.0), y + np.float32(21.0)
    distance = np.sqrt(dx * dx + dy * dy)
    wall: Array = np.clip((distance - 26) * np.float32(0.25), 0, 1)
    wall *= np.clip((dx - dy - 14) * np.float32(0.04), 0, 1)
    wall *= np.float32(1.6 * anatomy.pelvis_share)
    return wall


def _soft_tissue(anatomy: HipAnatomy, scanner: Scanner, rng: np.random.Generator) -> Array:
    """Thickness map [h,w] in cm: thinner to the side and below, with smooth folds."""
    rows, columns = _cosines(scanner.rows), _cosines(scanner.columns)
    order = np.add.outer(np.arange(FIELD_TERMS), np.arange(FIELD_TERMS))
    folds = rng.normal(0.0, 0.4, order.shape) / (1.0 + order)
    folds[0, 0] = anatomy.soft_tissue_cm
    folds[0, 1] += -0.6 if anatomy.side == "left" else 0.6
    folds[1, 0] += 0.5
    thickness: Array = (rows @ folds.astype(np.float32)) @ columns.T
    return thickness


def _expose(
    mineral: Array,
    soft_cm: Array,
    anatomy: HipAnatomy,
    scanner: Scanner,
    rng: np.random.Generator,
) -> Array:
    """Detected quanta per pixel [h,w], after automatic exposure to the scanner's fixed mean."""
    primary = np.exp(
        np.float32(-scanner.mineral_cm2_g) * mineral
        - np.float32(SOFT_TISSUE_PER_CM) * (soft_cm - np.float32(anatomy.soft_tissue_cm))
    )
    # the scatter kernel is as wide as the field: scatter is a flat veil over it
    scatter = SCATTER_PER_CM * anatomy.soft_tissue_cm * scanner.grid_leak * float(primary.mean())
    beam = ndimage.gaussian_filter(
        primary, scanner.blur_mm / scanner.pixel_mm, mode="nearest", truncate=3.0
    )
    beam += np.float32(scatter)
    beam *= np.float32(scanner.quanta * np.exp(rng.normal(0.0, 0.08)) / float(beam.mean()))
    # Poisson at these counts is normal with variance = mean
    noise: Array = rng.standard_normal(beam.shape, np.float32)
    noise *= np.sqrt(beam + np.float32(scanner.electronic_noise**2))
    noise += beam
    return noise


def _detect(exposure: Array, scanner: Scanner, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Grey levels [h,w]: log detector, vendor's sharpening and tone, level set to a fixed mean."""
    density = -np.log(np.maximum(exposure, 1.0))
    density -= density.mean()
    if scanner.sharpening:
        smooth = ndimage.uniform_filter(density, 9, mode="nearest")
        density += np.float32(scanner.sharpening) * (density - smooth)
    density += np.float32(scanner.tone) * density * np.abs(density)
    density -= density.mean()
    grey = np.float32(scanner.gain) * density + np.float32(scanner.offset + rng.normal(0.0, 8.0))
    pixels: NDArray[np.uint16] = np.clip(np.rint(grey), 0, FULL_SCALE).astype(np.uint16)
    return pixels


@lru_cache(maxsize=256)
def _pixel_grid(rows: int, columns: int, pixel_mm: float) -> tuple[Array, Array]:
    y = (np.arange(rows, dtype=np.float32) - np.float32((rows - 1) / 2)) * np.float32(pixel_mm)
    x = (np.arange(columns, dtype=np.float32) - np.float32((columns - 1) / 2)) * np.float32(pixel_mm)
    wide, tall = np.meshgrid(x, y)
    return wide, tall


@lru_cache(maxsize=64)
def _log_frequency(rows: int, columns: int, pixel_mm: float) -> Array:
    vertical = np.fft.fftfreq(rows, pixel_mm)[:, None]
    horizontal = np.fft.rfftfreq(columns, pixel_mm)[None, :]
    # below one cycle in 25 mm the spectrum is flat: a trabecular field has no longer waves
    log_frequency: Array = np.log(np.maximum(np.hypot(vertical, horizontal), 0.04)).astype(np.float32)
    return log_frequency


@lru_cache(maxsize=64)
def _cosines(size: int) -> Array:
    position = (np.arange(size) + 0.5) / size
    cosines: Array = np.cos(np.pi * np.outer(position, np.arange(FIELD_TERMS))).astype(np.float32)
    return cosines
