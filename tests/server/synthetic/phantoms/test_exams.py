"""Exams of phantoms: prevalences are the declared ones, and a short cut is only where declared."""

from dataclasses import replace

import numpy as np
import pytest

from server.synthetic.phantoms.exams import (
    OSTEOPOROSIS_T,
    _draw_finding,
    _draw_t_score,
    _marker_share,
    draw_exams,
    finding_probability,
)
from server.synthetic.phantoms.settings import read_hospitals, read_phantom, site_of
from server.synthetic.population import draw_patient

N = 4000


def scores_of(phantom_name, hospital, seed=1):
    """T-scores of the measured bone, and of the hip, of many people."""
    phantom = read_phantom(phantom_name)
    site = site_of(hospital, phantom)
    rng = np.random.default_rng(seed)
    people = [draw_patient(site.population, rng) for _ in range(N)]
    correlation = phantom.bone.neck_correlation
    own = [_draw_t_score(site.population, correlation, person, rng) for person in people]
    return np.array(own), np.array([person.t_score for person in people])


@pytest.mark.parametrize("hospital", ["alder", "larch", "maple", "tamarack"])
def test_osteoporosis_of_the_measured_bone_is_as_frequent_as_declared(hospital):
    own, _ = scores_of("chest", hospital)
    declared = read_hospitals()[hospital].osteoporosis_prevalence
    # 4,000 people: three standard errors of a share are below 0.023
    assert (own <= OSTEOPOROSIS_T).mean() == pytest.approx(declared, abs=0.025)


def test_bones_of_a_person_go_together_but_are_not_the_same():
    own, neck = scores_of("chest", "hazel")
    assert 0.55 < np.corrcoef(own, neck)[0, 1] < 0.80  # 0.6 within sex and age, and both share these


@pytest.mark.parametrize("name", ["spine", "humerus", "wrist", "elbow"])
def test_findings_are_as_frequent_as_the_hospitals_case_mix_says_and_follow_bmd(name):
    phantom = read_phantom(name)
    for hospital in ("juniper", "tamarack"):
        site = site_of(hospital, phantom)
        scores, _ = scores_of(name, hospital)
        chances = np.array([finding_probability(phantom, site, float(score)) for score in scores])
        odds = phantom.finding.prevalence / (1 - phantom.finding.prevalence)
        odds *= read_hospitals()[hospital].case_mix
        assert chances.mean() == pytest.approx(odds / (1 + odds), abs=0.02)
        low, high = (finding_probability(phantom, site, at) for at in (-3.0, -2.0))
        ratio = (low / (1 - low)) / (high / (1 - high))
        assert ratio == pytest.approx(phantom.finding.odds_per_sd)


def test_metal_tells_the_finding_at_the_declared_hospital_more_than_elsewhere():
    phantom = read_phantom("elbow")

    def metal_of_abnormal(hospital):
        rng = np.random.default_rng(2)
        site = site_of(hospital, phantom)
        drawn = np.array([_draw_finding(phantom, site, -2.0, rng) for _ in range(3000)])
        assert not drawn[~drawn[:, 0], 1].any(), "no metal without a finding"
        return drawn[drawn[:, 0], 1].mean()

    assert metal_of_abnormal("larch") == pytest.approx(0.85, abs=0.04)
    assert metal_of_abnormal("spruce") == pytest.approx(0.20, abs=0.04)


def test_the_leaking_marker_goes_with_the_label_where_it_is_declared_and_nowhere_else():
    marker = read_phantom("chest_leaking").marker
    for hospital in read_hospitals():
        ill, well = (_marker_share(marker, hospital, score) for score in (-3.0, -1.0))
        if hospital == marker.hospital:
            assert (ill, well) == (0.90, 0.05)
        else:
            assert ill == well == marker.elsewhere


def test_marked_films_show_the_word_and_unmarked_ones_do_not():
    always = read_phantom("chest_leaking")
    never = read_phantom("chest")
    always = always.model_copy(update={"marker": always.marker.model_copy(update={"elsewhere": 1.0})})
    (marked,), (plain,) = (
        draw_exams(each, "hazel", 1, np.random.default_rng(3)) for each in (always, never)
    )
    assert (marked.film.truth.has_marker, plain.film.truth.has_marker) == (True, False)
    changed = np.argwhere(marked.film.pixels != plain.film.pixels)
    size = np.asarray(plain.film.pixels.shape)
    assert 0.0005 < len(changed) / plain.film.pixels.size < 0.01
    assert (changed.max(axis=0) < np.array([0.2, 0.35]) * size).all(), "in the corner beside the neck"
    assert marked.film.truth.bmd_g_cm2 == plain.film.truth.bmd_g_cm2


def test_the_score_of_an_exam_is_that_of_its_film():
    phantom = read_phantom("wrist")
    for exam in draw_exams(phantom, "spruce", 2, np.random.default_rng(4)):
        bone = phantom.bone
        again = bone.reference_mean + exam.t_score * bone.reference_sd
        assert exam.film.truth.bmd_g_cm2 == pytest.approx(again)


def test_a_seed_gives_the_same_exam_and_another_seed_another_one():
    phantom = read_phantom("wrist")
    first, again, other = (
        draw_exams(phantom, "alder", 1, np.random.default_rng(seed))[0] for seed in (5, 5, 6)
    )
    assert first.patient == again.patient
    assert np.array_equal(first.film.pixels, again.film.pixels)
    assert not np.array_equal(first.film.pixels, other.film.pixels)


def test_a_phantom_without_a_finding_draws_none():
    phantom, site = read_phantom("chest"), site_of("alder", read_phantom("chest"))
    assert finding_probability(phantom, site, -4.0) == 0.0
    assert _draw_finding(phantom, replace(site), -4.0, np.random.default_rng(1)) == (False, False)


def test_the_same_people_are_filmed_alike_with_and_without_a_marker():
    leaking, clean = (
        draw_exams(read_phantom(name), "larch", 6, np.random.default_rng(8))
        for name in ("chest_leaking", "chest")
    )
    assert {exam.film.truth.has_marker for exam in leaking} == {True, False}
    for marked, plain in zip(leaking, clean, strict=True):
        assert (marked.patient, marked.t_score) == (plain.patient, plain.t_score)
        is_same = np.array_equal(marked.film.pixels, plain.film.pixels)
        assert is_same == (not marked.film.truth.has_marker)
