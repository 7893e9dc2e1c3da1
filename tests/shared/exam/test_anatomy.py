"""The landmark is where the physics put it, whatever the field; what is no such hip is not found."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from practice_threads import outputs_by_threads

from server.encoders.pretrain_landmark import LandmarkNetwork
from server.synthetic.physics import Film, draw_public_film
from shared.exam.anatomy import ANATOMIES, Found, _run, _weights, find_landmark
from shared.exam.field import find_exposed
from shared.exam.pixels import Picture, find_field

HIP = ANATOMIES["hip"]


@cache
def films() -> tuple[Film, ...]:
    rng = np.random.default_rng(77)
    return tuple(draw_public_film(rng) for _ in range(24))


def hung(film: Film) -> tuple[np.ndarray, tuple[float, float]]:
    """A film as a left one, and its landmark; a pixel's middle lies at a half."""
    row, column = film.landmark[0] + 0.5, film.landmark[1] + 0.5
    pixels = film.pixels.astype(np.float32)
    if film.side == "right":
        return np.ascontiguousarray(pixels[:, ::-1]), (row, pixels.shape[1] - column)
    return pixels, (row, column)


def look(pixels: np.ndarray, pixel_mm: float | None) -> tuple[Found, float]:
    """What is found, and how many pixels of the film one of the coarse picture stands for."""
    grey, exposed = find_field(Picture(pixels=pixels, pixel_mm=pixel_mm and (pixel_mm, pixel_mm)))
    block = round(pixels.shape[0] / grey.shape[0])
    spacing = (pixel_mm or 1.0) * block
    found = find_landmark(
        grey, exposed, spacing=(spacing, spacing), is_known=pixel_mm is not None, anatomy="hip"
    )
    return found, block


def misses_mm(found: Found, block: float, at: tuple[float, float], pixel_mm: float) -> float:
    return pixel_mm * float(np.hypot(found.row * block - at[0], found.column * block - at[1]))


def test_the_landmark_of_fields_of_any_width_is_found_to_some_millimetres():
    misses = []
    for film in films():
        pixels, at = hung(film)
        found, block = look(pixels, film.pixel_mm)
        misses.append(misses_mm(found, block, at, film.pixel_mm))
    assert np.median(misses) < 4
    assert np.mean(np.array(misses) < 8) >= 0.95


def test_sound_films_are_found_with_confidence_and_others_are_not():
    sound = [look(hung(film)[0], film.pixel_mm)[0].confidence for film in films()]
    assert np.mean(np.array(sound) >= HIP.least_confidence) >= 0.95
    narrow = [film for film in films() if film.pixel_mm * film.pixels.shape[1] < 160]
    for spoil in (np.fliplr, np.flipud, np.rot90):
        spoilt = [look(spoil(hung(film)[0]).copy(), film.pixel_mm)[0].confidence for film in narrow]
        assert np.mean(np.array(spoilt) < HIP.least_confidence) > 0.8, spoil.__name__


def test_dark_bones_are_turned_over():
    for film in films()[:10]:
        pixels, at = hung(film)
        found, block = look(-pixels, film.pixel_mm)
        if found.is_inverted:
            assert misses_mm(found, block, at, film.pixel_mm) < 12
    assert np.mean([look(-hung(film)[0], film.pixel_mm)[0].is_inverted for film in films()]) >= 0.9
    assert not any(look(hung(film)[0], film.pixel_mm)[0].is_inverted for film in films()[:10])


def test_an_unknown_spacing_is_found_in_the_picture():
    ratios = []
    for film in films()[:12]:
        pixels, _ = hung(film)
        found, block = look(pixels, None)
        ratios.append(found.scale / film.pixel_mm)  # a relative spacing of 1 was one pixel
        assert block >= 1
    assert np.median(np.abs(np.log(ratios))) < 0.12


def test_numpy_and_torch_run_the_same_network():
    weights = _weights(HIP.file)
    network = LandmarkNetwork()
    network.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
    rng = np.random.default_rng(0)
    for shape in ((47, 45), (64, 96), (9, 8)):
        channels = rng.normal(size=(2, *shape)).astype(np.float32)
        with torch.no_grad():
            theirs = network(torch.from_numpy(channels)[None])[0].numpy()
        assert np.allclose(_run(channels, weights), theirs, atol=1e-4)


def test_an_outline_that_touches_nothing_known_is_not_found():
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(60, 60)).astype(np.float32)
    grey = np.cumsum(np.cumsum(noise, axis=0), axis=1)
    found, _ = look(grey, 2.5)
    assert found.confidence < HIP.least_confidence


@pytest.mark.parametrize("name", sorted(ANATOMIES))
def test_every_anatomys_network_is_there(name):
    assert _weights(ANATOMIES[name].file)
    assert 0 < ANATOMIES[name].least_confidence < 1
    assert replace(ANATOMIES[name]).landmark
    assert find_exposed(np.zeros((4, 4), np.float32)).all()


def test_the_bits_are_the_same_whatever_the_number_of_threads():
    script = (
        "import sys, numpy; from shared.exam.anatomy import find_landmark;"
        "grey = numpy.random.default_rng(3).normal(1000, 200, (230, 190)).astype(numpy.float32);"
        "grey[80:150, 60:120] += 900;"
        "inside = numpy.ones(grey.shape, bool);"
        "found = find_landmark(grey, inside, spacing=(1.0, 1.0), is_known=False, anatomy='hip');"
        "sys.stdout.write(repr(found))"
    )
    outputs = outputs_by_threads(script)
    assert len(outputs) == 1, outputs
