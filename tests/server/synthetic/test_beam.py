"""The beam: texture keeps its power on any pixel; exposure, scatter and detector do what they say."""

from dataclasses import replace

import numpy as np
import pytest

from server.synthetic.beam import FULL_SCALE, detect, draw_texture, expose, modulate
from server.synthetic.hospitals import CEDAR_UNIT
from server.synthetic.physics import USUAL_PIXEL_MM

QUIET = replace(
    CEDAR_UNIT, quanta=1e9, electronic_noise=0.0, blur_mm=0.01, sharpening=0.0, tone=0.0, gain=500.0
)
EVERYWHERE = np.ones((QUIET.rows, QUIET.columns), np.bool_)


def exposure_of(log_primary, scatter, scanner=QUIET):
    return expose(log_primary, scatter, scanner, EVERYWHERE, np.random.default_rng(1))


def step(height):
    """A field whose right half attenuates more, by this much."""
    field = np.zeros((QUIET.rows, QUIET.columns), np.float32)
    field[:, QUIET.columns // 2 :] = -height
    return field


def test_the_mean_exposure_is_the_units_whatever_the_patient():
    for height in (0.1, 2.0):
        # an automatic exposure errs by 8 % (SD)
        assert exposure_of(step(height), 0.5).mean() == pytest.approx(QUIET.quanta, rel=0.3)


def test_scatter_lowers_contrast_as_one_over_one_plus_its_share_of_the_mean():
    clean, veiled = exposure_of(step(1.0), 0.0), exposure_of(step(1.0), 1.5)
    right = slice(QUIET.columns // 2 + 3, None)
    dark, mean = np.exp(-1.0), (1 + np.exp(-1.0)) / 2
    assert clean[:, right].mean() / clean[:, :60].mean() == pytest.approx(dark, rel=0.01)
    expected = (dark + 1.5 * mean) / (1 + 1.5 * mean)
    assert veiled[:, right].mean() / veiled[:, :60].mean() == pytest.approx(expected, rel=0.01)


def test_the_detector_is_logarithmic_with_the_units_gain_and_full_at_twelve_bits():
    grey = detect(exposure_of(step(1.0), 0.0), EVERYWHERE, QUIET, np.random.default_rng(2)).astype(
        float
    )
    assert grey[:, -50:].mean() - grey[:, :50].mean() == pytest.approx(500.0, rel=0.02)
    opaque = detect(exposure_of(step(12.0), 0.0), EVERYWHERE, QUIET, np.random.default_rng(2))
    assert opaque.max() == FULL_SCALE


def test_texture_never_makes_mineral_negative_and_leaves_its_mean():
    field = draw_texture(CEDAR_UNIT, 1.5, np.random.default_rng(3))
    assert modulate(field, 0.3).mean() == pytest.approx(1.0, abs=0.03)  # waves as long as the film
    assert modulate(field, 2.0).min() == 0.0


def test_finer_pixels_show_the_same_texture_with_more_detail():
    fine = replace(CEDAR_UNIT, rows=480, columns=480, pixel_mm=USUAL_PIXEL_MM / 3)
    usual = replace(CEDAR_UNIT, rows=160, columns=160, pixel_mm=USUAL_PIXEL_MM)
    field = draw_texture(fine, 1.0, np.random.default_rng(3))
    averaged = field.reshape(160, 3, 160, 3).mean(axis=(1, 3))
    assert draw_texture(usual, 1.0, np.random.default_rng(3)).std() == pytest.approx(1.0, abs=0.02)
    assert field.std() > 1.1
    assert averaged.std() == pytest.approx(0.93, abs=0.07)  # an average also blurs its own band
