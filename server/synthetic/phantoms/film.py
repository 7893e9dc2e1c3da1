"""Sees a scene: bones become mineral, mineral and tissue become grey levels, and what is true is kept.

A film's BMD is what a densitometer would find: the mean mineral of the measured bones within their own
mask. The trabecular share is solved for it, so that label and picture cannot disagree. Imports scene,
outlines and attenuation; beam and solids of the package above.

Legend: h w pixels; lengths in mm unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from server.synthetic.beam import (
    CORTEX_MINERAL_G_CM3,
    SCATTER_PER_CM,
    TISSUE_MINERAL_G_CM3,
    Scanner,
    detect,
    draw_texture,
    expose,
    modulate,
)
from server.synthetic.phantoms.attenuation import (
    SOFT_TISSUE_G_CM3,
    TITANIUM_G_CM3,
    mass_attenuation,
)
from server.synthetic.phantoms.outlines import project_outline
from server.synthetic.phantoms.scene import Bone, Break, HeightLoss, Scene
from server.synthetic.solids import Array, Box, Chords, Frame, Point, project

LEAST_SHARE, MOST_SHARE = 0.01, 0.60  # trabecular bone fills at least and at most this of the marrow
EDGE_MM = 0.4  # over which the edge of a fracture fades


@dataclass(frozen=True)
class Truth:
    """What is true of a film: BMD of the measured bones (g/cm²), what was read, and what was drawn."""

    bmd_g_cm2: float
    class_name: str
    has_fracture: bool
    has_implant: bool
    has_marker: bool
    losses: tuple[HeightLoss, ...]


@dataclass(frozen=True)
class PhantomFilm:
    """Grey levels of 12 bits, bone bright, and what is known about them; what ``wear`` takes.

    ``side`` is what the lead letter says. ``mineral`` [h,w] in g/cm² of the measured bones alone and
    ``measured`` [h,w], their mask; ``parts`` the mask of every bone by its name.
    """

    pixels: NDArray[np.uint16]
    bone_mask: NDArray[np.bool_]
    landmark: Point
    side: str
    pixel_mm: float
    mineral: Array
    measured: NDArray[np.bool_]
    parts: dict[str, NDArray[np.bool_]]
    truth: Truth


@dataclass(frozen=True)
class Beam:
    """How a part is exposed: photon energy, scatter over that of a large field, texture's grain."""

    energy_kev: float
    scatter: float = 1.0
    grain: float = 1.0


@dataclass(frozen=True)
class _Maps:
    """Mineral in a box [h,w] in g/cm²: cortical, trabecular at a share of 1; and where bone is."""

    box: Box
    cortical: Array
    trabecular: Array
    mask: NDArray[np.bool_]


def render(
    scene: Scene,
    frame: Frame,
    scanner: Scanner,
    beam: Beam,
    rng: np.random.Generator,
    *,
    bmd_g_cm2: float,
    texture_exponent: float,
    side: str,
) -> PhantomFilm:
    """A film of this scene.

    Args:
        scene: what stands before the beam.
        frame: where its millimetres lie on the film.
        scanner: the unit; its mineral attenuation is not used, the beam's energy tells it.
        beam: of this body part.
        rng: draws texture, exposure and quanta.
        bmd_g_cm2: asked of the measured bones; reached unless cortex alone has more, or all has less.
        texture_exponent: of the trabecular power spectrum.
        side: of the lead letter.
    """
    shape = (scanner.rows, scanner.columns)
    texture = draw_texture(scanner, texture_exponent, rng, grain=beam.grain)
    modulation = modulate(texture, 0.35)
    maps = {bone.name: _maps(bone, frame, shape, modulation) for bone in scene.bones}
    chosen = _sum([part for bone in scene.bones if bone.is_measured for part in maps[bone.name]], shape)
    share = _solve_share(chosen, bmd_g_cm2)
    every = _sum([part for parts in maps.values() for part in parts], shape)
    masks = {name: _sum(parts, shape).mask for name, parts in maps.items()}
    mineral = every.cortical + np.float32(share) * every.trabecular
    measured_mineral = chosen.cortical + np.float32(share) * chosen.trabecular
    x, y = frame.grid((slice(0, shape[0]), slice(0, shape[1])))
    soft_cm = np.maximum(scene.soft_cm(x, y), 0) * (1 + np.float32(0.03) * _folds(shape, rng))
    seen = soft_cm > scene.least_cm  # where automatic exposure looks
    reference_cm = float(soft_cm.mean(where=seen))
    energy = beam.energy_kev
    log_primary = (
        -np.float32(mass_attenuation("mineral", energy)) * mineral
        - np.float32(mass_attenuation("soft_tissue", energy) * SOFT_TISSUE_G_CM3)
        * (soft_cm - np.float32(reference_cm))
        - np.float32(mass_attenuation("titanium", energy) * TITANIUM_G_CM3 / 10.0)
        * _metal_mm(scene, frame, shape)
    ).astype(np.float32)
    scatter = SCATTER_PER_CM * reference_cm * scanner.grid_leak * beam.scatter
    exposure = expose(log_primary, scatter, scanner, seen, rng)
    marked = [masks[bone.name] for bone in scene.bones if bone.is_marked]
    return PhantomFilm(
        pixels=detect(exposure, seen, scanner, rng),
        bone_mask=np.any(marked, axis=0),
        landmark=frame.pixel_of(scene.landmark),
        side=side,
        pixel_mm=scanner.pixel_mm,
        mineral=measured_mineral,
        measured=chosen.mask,
        parts=masks,
        truth=Truth(
            bmd_g_cm2=float(measured_mineral.mean(where=chosen.mask)),
            class_name=scene.class_name,
            has_fracture=scene.has_fracture,
            has_implant=bool(scene.metal),
            has_marker=False,
            losses=scene.losses,
        ),
    )


def draw_frame(
    scanner: Scanner, rng: np.random.Generator, *, scale: float, turn: float, mirror: bool
) -> Frame:
    """Where a part lies on the film: shifted, turned by ``turn`` degrees (SD), mirrored."""
    size_mm = np.array([scanner.columns, scanner.rows]) * scanner.pixel_mm
    angle = np.deg2rad(rng.normal(0.0, turn))
    zoom = 1.0 / (scale * rng.normal(1.0, 0.02))
    shift = rng.normal(0.0, 0.012, 2) * size_mm
    sign = np.array([-1.0, 1.0]) if mirror else np.ones(2)
    cosine, sine = np.cos(angle) * zoom, np.sin(angle) * zoom
    centred = Frame(np.diag(sign) * scanner.pixel_mm, (scanner.pixel_mm - size_mm) / 2 * sign - shift)
    return centred.then(np.array([[cosine, -sine], [sine, cosine]]))


def with_marker(film: PhantomFilm, pixels: NDArray[np.uint16]) -> PhantomFilm:
    """The film with a lead marker drawn on it."""
    return replace(film, pixels=pixels, truth=replace(film.truth, has_marker=True))


def _maps(bone: Bone, frame: Frame, shape: tuple[int, int], modulation: Array) -> list[_Maps]:
    """Mineral of one bone: whole, or of the two parts into which a fracture divides it."""
    if bone.fracture is None:
        return [_mineral(_chords(bone, frame, shape), modulation)]
    parts = []
    for part, is_far in ((frame, False), (_moved(frame, bone.fracture), True)):
        chords = _chords(bone, part, shape)
        kept = _side_of(bone.fracture, part, chords.box, is_far=is_far)
        cut = Chords(chords.box, chords.outer * kept, chords.marrow * kept, chords.spongy * kept)
        parts.append(_mineral(cut, modulation))
    return parts


def _chords(bone: Bone, frame: Frame, shape: tuple[int, int]) -> Chords:
    """Path lengths through all bodies of a bone, seen as one."""
    parts = [project_outline(outline, frame, shape) for outline in bone.outlines]
    parts += [project(bone.solids, frame, shape)] if bone.solids else []
    rows, columns = (
        slice(min(part.box[axis].start for part in parts), max(part.box[axis].stop for part in parts))
        for axis in (0, 1)
    )
    size = (rows.stop - rows.start, columns.stop - columns.start)
    outer, marrow, spongy = (np.zeros(size, np.float32) for _ in range(3))
    for part in parts:
        at = (
            slice(part.box[0].start - rows.start, part.box[0].stop - rows.start),
            slice(part.box[1].start - columns.start, part.box[1].stop - columns.start),
        )
        for layer, chord in ((outer, part.outer), (marrow, part.marrow), (spongy, part.spongy)):
            np.maximum(layer[at], chord, out=layer[at])
    return Chords((rows, columns), outer, marrow, spongy)


def _mineral(chords: Chords, modulation: Array) -> _Maps:
    return _Maps(
        box=chords.box,
        cortical=np.float32(0.1 * CORTEX_MINERAL_G_CM3) * (chords.outer - chords.marrow),
        trabecular=np.float32(0.1 * TISSUE_MINERAL_G_CM3) * chords.spongy * modulation[chords.box],
        mask=chords.outer > 0,
    )


def _sum(parts: list[_Maps], shape: tuple[int, int]) -> _Maps:
    """The maps of several bones, on the whole film."""
    whole = (slice(0, shape[0]), slice(0, shape[1]))
    cortical, trabecular = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    mask = np.zeros(shape, np.bool_)
    for part in parts:
        cortical[part.box] += part.cortical
        trabecular[part.box] += part.trabecular
        mask[part.box] |= part.mask
    return _Maps(whole, cortical, trabecular, mask)


def _solve_share(maps: _Maps, bmd_g_cm2: float) -> float:
    """The trabecular share at which the mean mineral within the mask is this BMD."""
    cortical = float(maps.cortical.mean(where=maps.mask))
    trabecular = float(maps.trabecular.mean(where=maps.mask))
    return float(np.clip((bmd_g_cm2 - cortical) / trabecular, LEAST_SHARE, MOST_SHARE))


def _moved(frame: Frame, fracture: Break) -> Frame:
    turn = np.deg2rad(fracture.turn_degrees)
    cosine, sine = np.cos(turn), np.sin(turn)
    # the far part moved by the shift, so its own millimetres lie behind by it
    turned = frame.then(np.array([[cosine, sine], [-sine, cosine]]), about=fracture.at)
    return Frame(turned.matrix, turned.offset - np.asarray(fracture.shift))


def _side_of(fracture: Break, frame: Frame, box: Box, *, is_far: bool) -> Array:
    """1 on one side of a ragged line, 0 on the other [h,w]; in the part's own millimetres."""
    x, y = frame.grid(box)
    dx, dy = np.asarray(fracture.direction) / np.hypot(*fracture.direction)
    along = (x - fracture.at[0]) * dx + (y - fracture.at[1]) * dy
    across = (x - fracture.at[0]) * dy - (y - fracture.at[1]) * dx
    ragged = np.random.default_rng(fracture.seed).normal(0.0, fracture.rough, 81)
    ragged = ndimage.gaussian_filter1d(ragged, 0.8)
    across -= np.interp(along, np.linspace(-40.0, 40.0, 81), ragged).astype(np.float32)
    beyond = across if is_far else -across
    kept: Array = np.clip(0.5 + (beyond - fracture.gap / 2) / EDGE_MM, 0, 1).astype(np.float32)
    return kept


def _metal_mm(scene: Scene, frame: Frame, shape: tuple[int, int]) -> Array:
    metal = np.zeros(shape, np.float32)
    for solid in scene.metal:
        seen = project((solid,), frame, shape)
        metal[seen.box] += seen.outer
    return metal


def _folds(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """A smooth field [h,w] of unit SD: fat and muscle that no anatomy names."""
    coarse = rng.standard_normal((7, 7))
    zoomed = ndimage.zoom(coarse, (shape[0] / 7, shape[1] / 7), order=3, grid_mode=True, mode="nearest")
    return np.asarray(zoomed[: shape[0], : shape[1]], np.float32)
