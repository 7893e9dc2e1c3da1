"""Renders a hip AP film: from bone, soft tissue and scanner to detector values.

Owns what of a hip lies on a field, and its pose. Bones are projected into a map of mineral, a cortex
around trabecular bone whose texture follows a power law; Beer–Lambert attenuation follows, and
``beam``. A field wider than one hip shows the pelvis, the other hip and the air beside the body. BMD is
no argument here: a film sees only physical quantities, which is what makes ``draw_public_film`` fit for
pretraining. Imports beam, solids and hip of this package, numpy and scipy.

Legend: h w pixels; lengths in mm unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from server.synthetic.beam import (
    AIR_CM,
    SCATTER_PER_CM,
    Scanner,
    add_mineral,
    detect,
    draw_texture,
    expose,
    modulate,
)
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

SOFT_TISSUE_PER_CM = 0.21  # linear attenuation of muscle near 50 keV (NIST XCOM: 0.23 at 50 keV)
FIELD_TERMS = 5  # cosine terms per axis of the soft-tissue thickness
FOLDS_MM = 140.0  # that they are drawn over: a usual field of one hip
ONE_HIP_MM = 170.0  # a field wider or higher than this shows more than one hip
WINDOW_MM = 128.0  # what a wide field keeps around the hip
USUAL_PIXEL_MM = 0.93
OWN_MM, FADE_MM = 92.0, 20.0  # a hip's own surroundings, and how far beyond others are whole
EXPOSED_MM = 71.0  # around a hip: where exposure is measured on a wide field
WIDE_SHARE = 0.35  # of public films
PLATES_MM = ((240.0, 300.0), (300.0, 240.0), (430.0, 350.0))  # usual plates, width and height


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
    modulation = modulate(
        draw_texture(scanner, anatomy.texture_exponent, rng), anatomy.texture_contrast
    )
    x, y = frame.grid((slice(0, shape[0]), slice(0, shape[1])))
    mineral = sockets(anatomy, x, y)  # [h,w] g/cm²
    add_mineral(mineral, bone, modulation)
    neck = frame.pixel_of(femur.neck)
    soft_cm = _soft_tissue(anatomy, scanner, neck if is_wide else None, rng)
    measured = np.ones(shape, np.bool_)  # where automatic exposure looks
    if is_wide:
        away = np.hypot(x - np.float32(femur.neck[0]), y - np.float32(femur.neck[1]))
        beyond: Array = np.clip((away - OWN_MM) / np.float32(FADE_MM), 0, 1)
        around = wings(anatomy, x, y)
        for other in _surroundings(anatomy, frame, shape, rng):
            add_mineral(around, other, modulation)
        mineral += around * beyond
        soft_cm *= 1 + (body_outline(anatomy, x, y) - 1) * beyond
        measured = (away < EXPOSED_MM) & (soft_cm > AIR_CM)
    log_primary = np.float32(-scanner.mineral_cm2_g) * mineral - np.float32(SOFT_TISSUE_PER_CM) * (
        soft_cm - np.float32(anatomy.soft_tissue_cm)
    )
    scatter = SCATTER_PER_CM * anatomy.soft_tissue_cm * scanner.grid_leak
    bone_mask = np.zeros(shape, np.bool_)
    bone_mask[bone.box] = bone.outer > 0
    return Film(
        pixels=detect(expose(log_primary, scatter, scanner, measured, rng), measured, scanner, rng),
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


@lru_cache(maxsize=64)
def _cosines(size: int, pixel_mm: float, centre: float | None) -> Array:
    """Terms [size, FIELD_TERMS] along one edge: over the film, or over ``FOLDS_MM`` about a pixel."""
    pixel = np.arange(size) + 0.5
    position = pixel / size if centre is None else 0.5 + (pixel - 0.5 - centre) * pixel_mm / FOLDS_MM
    cosines: Array = np.cos(np.pi * np.outer(position, np.arange(FIELD_TERMS))).astype(np.float32)
    return cosines
