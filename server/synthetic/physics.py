"""Renders a hip AP film: from bone, soft tissue and scanner to detector values.

Owns the X-ray physics and the scanner. Bones are projected into a map of mineral, a cortex around
trabecular bone whose texture follows a power law. Beer–Lambert attenuation, scatter that rises with
soft-tissue thickness, automatic exposure, blur, quantum noise and a log detector follow. A field wider
than one hip shows the pelvis, the other hip and the air beside the body. BMD is no argument here: a
film sees only physical quantities, which is what makes ``draw_public_film`` fit for pretraining.
Imports solids and hip of this package, numpy and scipy.

Legend: h w pixels; lengths in mm unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from server.synthetic.hip import (
    HipAnatomy,
    Side,
    body_outline,
    half_pelvis,
    other_side,
    pose_femur,
    sockets,
    soft_tissue_cm,
    spine,
    wings,
)
from server.synthetic.solids import Array, Chords, Frame, Point, project

TISSUE_MINERAL_G_CM3 = 1.05  # mineral of fully calcified bone matrix: BV/TV 1 has this density
CORTEX_MINERAL_G_CM3 = 1.0  # the cortex is porous, about 5 % less
SOFT_TISSUE_PER_CM = 0.21  # linear attenuation of muscle near 50 keV (NIST XCOM: 0.23 at 50 keV)
# Scatter over primary without a grid: about 3 at 20 cm of water in a 30 x 30 cm field, rising about
# linearly from 10 to 30 cm (slabs: Johns & Yaffe, Med Phys 1982;9:231; textbook curves: Bushberg et
# al., The Essential Physics of Medical Imaging). A straight line through them, not a fit to data.
SCATTER_PER_CM = 0.15
FIELD_TERMS = 5  # cosine terms per axis of the soft-tissue thickness
FOLDS_MM = 140.0  # that they are drawn over: a usual field of one hip
AIR_CM = 1.0  # less than this is no body to automatic exposure
FULL_SCALE = 4095  # 12 stored bits
ONE_HIP_MM = 170.0  # a field wider or higher than this shows more than one hip
WINDOW_MM = 128.0  # what a wide field keeps around the hip
USUAL_PIXEL_MM = 0.93
TEXTURE_BAND = 0.55  # cycles per mm on either axis: what pixels of the usual size can show
OWN_MM, FADE_MM = 92.0, 20.0  # a hip's own surroundings, and how far beyond others are whole
EXPOSED_MM = 71.0  # around a hip: where exposure is measured on a wide field
SATURATION = 2.0  # the detector's range above the mean exposure, in log exposure
WIDE_SHARE = 0.35  # of public films
PLATES_MM = ((240.0, 300.0), (300.0, 240.0), (430.0, 350.0))  # usual plates, width and height


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
    """Raw grey levels, bone bright, with the physical truth behind them.

    ``bone_mask`` is the filmed femur; ``landmark`` the middle of its neck's axis, row and column in
    pixels from the centre of the first one.
    """

    pixels: NDArray[np.uint16]
    bone_mask: NDArray[np.bool_]
    landmark: Point
    side: Side
    cortical_mm: float
    trabecular_share: float
    texture_exponent: float
    pixel_mm: float


def random_scanner(rng: np.random.Generator, *, is_usual: bool = False) -> Scanner:
    """A scanner drawn over a range wider than any hospital's, for public pretraining films.

    Args:
        rng: draws it.
        is_usual: whether its field shows one hip and its pixels are near ``USUAL_PIXEL_MM``.
    """
    # one hip on 129 to 151 mm, or more; pixels from fine to coarse, wide fields never the finest
    rows, columns, pixel_mm = _draw_field(rng, is_usual=is_usual)
    return Scanner(
        vendor="Public",
        model="Varied",
        rows=rows,
        columns=columns,
        pixel_mm=pixel_mm,
        gain=float(rng.uniform(450.0, 1100.0)),
        offset=float(rng.uniform(1600.0, 2400.0)),
        tone=float(rng.uniform(-0.25, 0.25)),
        sharpening=float(rng.uniform(0.0, 0.6)),
        blur_mm=float(rng.uniform(0.3, 1.3)),
        # quanta per area, not per pixel, are a machine's
        quanta=float(np.exp(rng.uniform(np.log(1200.0), np.log(12000.0))))
        * (pixel_mm / USUAL_PIXEL_MM) ** 2,
        electronic_noise=float(rng.uniform(2.0, 15.0)) * pixel_mm / USUAL_PIXEL_MM,
        grid_leak=float(rng.uniform(0.12, 0.32)),
        mineral_cm2_g=float(rng.uniform(0.48, 0.72)),
    )


def _draw_field(rng: np.random.Generator, *, is_usual: bool) -> tuple[int, int, float]:
    """Rows, columns and mm per pixel; sizes are products of small primes: quick Fourier transforms."""
    if is_usual:
        rows, columns = (int(size) for size in rng.choice((144, 150, 160), 2))
        return rows, columns, float(140.0 / rows * rng.uniform(0.92, 1.08))
    is_wide = rng.random() < WIDE_SHARE
    least, most = ((200.0, 200.0), (350.0, 430.0)) if is_wide else ((129.0, 129.0), (151.0, 151.0))
    size_mm = rng.uniform(least, most)
    pixel_mm = float(np.exp(rng.uniform(np.log(0.75 if is_wide else 0.5), np.log(1.3))))
    rows, columns = (int(fft.next_fast_len(round(edge / pixel_mm), real=True)) for edge in size_mm)
    return rows, columns, pixel_mm


def widen(scanner: Scanner, rng: np.random.Generator) -> Scanner:
    """The same unit with a plate that shows more than one hip."""
    width_mm, height_mm = PLATES_MM[int(rng.integers(len(PLATES_MM)))]
    return replace(
        scanner,
        rows=round(height_mm / scanner.pixel_mm),
        columns=round(width_mm / scanner.pixel_mm),
    )


def draw_public_film(rng: np.random.Generator, *, is_usual: bool = False) -> Film:
    """A film whose physical quantities are drawn widely and independently: it has no BMD.

    ``is_usual`` is that of ``random_scanner``.
    """
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
    return render_hip(anatomy, random_scanner(rng, is_usual=is_usual), rng)


def render_hip(anatomy: HipAnatomy, scanner: Scanner, rng: np.random.Generator) -> Film:
    """A film of this hip on this scanner; pose, soft-tissue folds and quanta come from ``rng``.

    A field of more than one hip's size has this hip anywhere, its surroundings mostly inside. What it
    adds (pelvis, other hip, the body's outline) lies beyond ``OWN_MM``, and exposure is measured over
    the hip: within its own surroundings a hip looks the same on every field.

    Shapes: pixels and bone_mask are [scanner.rows, scanner.columns].
    """
    shape = (scanner.rows, scanner.columns)
    is_wide = max(shape) * scanner.pixel_mm > ONE_HIP_MM
    frame = _pose(anatomy, scanner, rng, is_wide=is_wide)
    femur = pose_femur(anatomy, rng)
    bone = project(femur.solids, frame, shape)
    modulation = _modulation(_texture(scanner, anatomy.texture_exponent, rng), anatomy)
    x, y = frame.grid((slice(0, shape[0]), slice(0, shape[1])))
    mineral = sockets(anatomy, x, y)  # [h,w] g/cm²
    _add_mineral(mineral, bone, modulation)
    neck = frame.pixel_of(femur.neck)
    soft_cm = _soft_tissue(anatomy, scanner, neck if is_wide else None, rng)
    measured = np.ones(shape, np.bool_)  # where automatic exposure looks
    if is_wide:
        away = np.hypot(x - np.float32(femur.neck[0]), y - np.float32(femur.neck[1]))
        beyond: Array = np.clip((away - OWN_MM) / np.float32(FADE_MM), 0, 1)
        around = wings(anatomy, x, y)
        for other in _surroundings(anatomy, frame, shape, rng):
            _add_mineral(around, other, modulation)
        mineral += around * beyond
        soft_cm *= 1 + (body_outline(anatomy, x, y) - 1) * beyond
        measured = (away < EXPOSED_MM) & (soft_cm > AIR_CM)
    bone_mask = np.zeros(shape, np.bool_)
    bone_mask[bone.box] = bone.outer > 0
    return Film(
        pixels=_detect(
            _expose(mineral, soft_cm, anatomy, scanner, measured, rng), measured, scanner, rng
        ),
        bone_mask=bone_mask,
        landmark=neck,
        side=anatomy.side,
        cortical_mm=anatomy.cortical_mm,
        trabecular_share=anatomy.trabecular_share,
        texture_exponent=anatomy.texture_exponent,
        pixel_mm=scanner.pixel_mm,
    )


def _pose(anatomy: HipAnatomy, scanner: Scanner, rng: np.random.Generator, *, is_wide: bool) -> Frame:
    """Where the femur lies on the film: shifted, rotated, magnified, mirrored."""
    size_mm = np.array([scanner.columns, scanner.rows]) * scanner.pixel_mm
    mirror = -1.0 if anatomy.side == "left" else 1.0
    turn = np.deg2rad(rng.normal(0.0, 5.0))
    zoom = 1.0 / (anatomy.scale * rng.normal(1.0, 0.03))
    shift = rng.normal(0.0, 5.0, 2)
    if is_wide:
        # lateral and medial, up and down: where people aim, as far as the field allows
        room = np.maximum((size_mm - WINDOW_MM) / 2, 0)
        shift += rng.uniform(-np.minimum(room, (110.0, 110.0)), np.minimum(room, (45.0, 80.0)))
    cosine, sine = np.cos(turn) * zoom, np.sin(turn) * zoom
    centred = Frame(
        np.diag([mirror, 1.0]) * scanner.pixel_mm,
        (scanner.pixel_mm - size_mm) / 2 * (mirror, 1.0) - shift,
    )
    return centred.then(np.array([[cosine, -sine], [sine, cosine]]))


def _surroundings(
    anatomy: HipAnatomy, frame: Frame, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[Chords, ...]:
    """The bones around this hip: pelvis, spine, and the other femur in a pose of its own."""
    pelvis = half_pelvis(anatomy)
    return (
        project(pelvis, frame, shape),
        project(pelvis, other_side(frame, 0.0), shape),
        project(spine(anatomy), frame, shape),
        project(pose_femur(anatomy, rng).solids, other_side(frame, rng.normal(0.0, 5.0)), shape),
    )


def _add_mineral(mineral: Array, bone: Chords, modulation: Array) -> None:
    """Add a bone's g/cm²: cortex, and trabecular bone modulated by its texture."""
    mineral[bone.box] += np.float32(0.1 * CORTEX_MINERAL_G_CM3) * (bone.outer - bone.marrow)
    mineral[bone.box] += np.float32(0.1 * TISSUE_MINERAL_G_CM3) * bone.spongy * modulation[bone.box]


def _texture(scanner: Scanner, exponent: float, rng: np.random.Generator) -> Array:
    """Random field [h,w] whose power falls as frequency^-exponent (cycles per mm).

    Its variance is 1 within ``TEXTURE_BAND``: finer pixels show more detail of the same texture.
    """
    log_frequency, in_band = _frequencies(scanner.rows, scanner.columns, scanner.pixel_mm)
    amplitude = np.exp(np.float32(-0.5 * exponent) * log_frequency)
    spectrum = np.empty(amplitude.shape, np.complex64)
    spectrum.real = rng.standard_normal(amplitude.shape, np.float32) * amplitude
    spectrum.imag = rng.standard_normal(amplitude.shape, np.float32) * amplitude
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    field: Array = fft.irfft2(spectrum, s=(scanner.rows, scanner.columns))
    # Parseval: the sum of power over all frequencies is size times the sum of squares
    field *= np.float32(field.size / np.sqrt(float(np.vdot(power, in_band))))
    return field


def _modulation(texture: Array, anatomy: HipAnatomy) -> Array:
    modulation: Array = np.maximum(1 + np.float32(anatomy.texture_contrast) * texture, 0)
    return modulation


def _soft_tissue(
    anatomy: HipAnatomy, scanner: Scanner, neck: tuple[float, float] | None, rng: np.random.Generator
) -> Array:
    """Thickness map [h,w] in cm: thinner to the side and below, with smooth folds.

    The folds are those of a body: on a wide field they lie about the ``neck`` (row, column) as on a
    field of one hip, and go on beyond it.
    """
    row, column = neck or (None, None)
    rows = _cosines(scanner.rows, scanner.pixel_mm, row)
    columns = _cosines(scanner.columns, scanner.pixel_mm, column)
    order = np.add.outer(np.arange(FIELD_TERMS), np.arange(FIELD_TERMS))
    folds = rng.normal(0.0, 0.4, order.shape) / (1.0 + order)
    folds[0, 0] = anatomy.soft_tissue_cm
    folds[0, 1] += -0.6 if anatomy.side == "left" else 0.6
    folds[1, 0] += 0.5
    # few terms: without a thread pool, which costs more than it saves
    thickness: Array = np.einsum("ik,jk->ij", rows @ folds.astype(np.float32), columns)
    return thickness


def _expose(
    mineral: Array,
    soft_cm: Array,
    anatomy: HipAnatomy,
    scanner: Scanner,
    measured: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Array:
    """Detected quanta per pixel [h,w], after exposure to a fixed mean where it is measured."""
    primary = np.exp(
        np.float32(-scanner.mineral_cm2_g) * mineral
        - np.float32(SOFT_TISSUE_PER_CM) * (soft_cm - np.float32(anatomy.soft_tissue_cm))
    )
    # the scatter kernel is as wide as the field: scatter is a flat veil over it
    scatter = SCATTER_PER_CM * anatomy.soft_tissue_cm * scanner.grid_leak
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


def _detect(
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
def _frequencies(rows: int, columns: int, pixel_mm: float) -> tuple[Array, Array]:
    """Logarithm of each frequency's length, and its weight in the power of the texture's band."""
    vertical = np.abs(np.fft.fftfreq(rows, pixel_mm))[:, None]
    horizontal = np.fft.rfftfreq(columns, pixel_mm)[None, :]
    # below one cycle in 25 mm the spectrum is flat: a trabecular field has no longer waves
    length = np.maximum(np.hypot(vertical, horizontal), 0.04)
    # a real field's spectrum is stored by half: inner columns stand for two; the mean is no power
    weight = np.where(np.maximum(vertical, horizontal) <= TEXTURE_BAND, np.float32(2.0), np.float32(0))
    weight[:, 0] /= 2
    if columns % 2 == 0:
        weight[:, -1] /= 2
    weight[0, 0] = 0
    return np.log(length).astype(np.float32), weight


@lru_cache(maxsize=64)
def _cosines(size: int, pixel_mm: float, centre: float | None) -> Array:
    """Terms [size, FIELD_TERMS] along one edge: over the film, or over ``FOLDS_MM`` about a pixel."""
    pixel = np.arange(size) + 0.5
    position = pixel / size if centre is None else 0.5 + (pixel - 0.5 - centre) * pixel_mm / FOLDS_MM
    cosines: Array = np.cos(np.pi * np.outer(position, np.arange(FIELD_TERMS))).astype(np.float32)
    return cosines
