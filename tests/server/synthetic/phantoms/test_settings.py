"""Settings of phantoms and hospitals: what is declared differs as it should, mistakes are named."""

import pytest

from server.synthetic.phantoms.settings import (
    PhantomSettings,
    phantom_names,
    read_hospitals,
    read_phantom,
    scanner_of,
    site_of,
)
from shared.errors import SettingsError


def test_eight_hospitals_differ_in_case_mix_machine_vendor_and_prevalence() -> None:
    hospitals = read_hospitals()
    assert len(hospitals) == 8
    assert len({each.unit.model for each in hospitals.values()}) == 8
    assert {each.dxa_vendor for each in hospitals.values()} == {"hologic", "lunar", "norland"}
    assert len({each.osteoporosis_prevalence for each in hospitals.values()}) == 8
    assert len({each.case_mix for each in hospitals.values()}) >= 5
    for each in hospitals.values():
        assert sum(each.decade_shares) == pytest.approx(1.0)


def test_one_hospital_is_untypical_in_everything() -> None:
    hospitals = dict(read_hospitals())
    odd = hospitals.pop("tamarack")
    assert odd.women_share < min(each.women_share for each in hospitals.values())
    assert odd.decade_shares[0] > max(each.decade_shares[0] for each in hospitals.values())
    assert odd.osteoporosis_prevalence < min(h.osteoporosis_prevalence for h in hospitals.values())
    assert odd.case_mix > max(each.case_mix for each in hospitals.values())
    assert odd.unit.energy_shift_kev < min(each.unit.energy_shift_kev for each in hospitals.values())


def test_a_machine_keeps_its_field_and_quanta_by_area_on_any_pixel() -> None:
    film = read_phantom("wrist").film
    for hospital in read_hospitals().values():
        unit = scanner_of(hospital, film)
        assert unit.rows * unit.pixel_mm == pytest.approx(film.height_mm, rel=0.01)
        assert unit.columns * unit.pixel_mm == pytest.approx(film.width_mm, rel=0.01)
        assert unit.quanta / unit.pixel_mm**2 == pytest.approx(hospital.unit.quanta_per_mm2)


def test_a_phantoms_look_wins_over_its_hospitals() -> None:
    plain, spine = (site_of("hazel", read_phantom(name)).look for name in ("wrist", "spine"))
    assert (plain.border, spine.border) == (0.40, 0.40)
    assert spine.border_added == 1.0 > plain.border_added


def test_a_leaking_marker_is_declared_for_one_hospital_of_one_phantom_alone() -> None:
    declared = {name: read_phantom(name).marker for name in phantom_names()}
    assert {name for name, marker in declared.items() if marker} == {"chest_leaking"}
    marker = declared["chest_leaking"]
    assert marker is not None
    assert marker.hospital in read_hospitals()
    clean = read_phantom("chest").model_dump() | {"marker": marker.model_dump()}
    assert PhantomSettings.model_validate(clean) == read_phantom("chest_leaking")


def test_an_unknown_phantom_is_answered_by_those_that_are_there() -> None:
    with pytest.raises(SettingsError, match="chest_leaking") as caught:
        read_phantom("knee")
    assert caught.value.code == "settings.unknown-phantom"


def test_a_mistake_in_a_file_is_named(tmp_path, monkeypatch) -> None:
    from server.synthetic.phantoms import settings

    (tmp_path / "knee.yaml").write_text("anatomy: knee\nfilm: {energy_kev: 400}\n")
    monkeypatch.setattr(settings, "FOLDER", tmp_path)
    with pytest.raises(SettingsError, match="energy_kev") as caught:
        settings.read_phantom.__wrapped__("knee")
    assert caught.value.code == "settings.invalid-phantom"


def test_no_film_wears_metal_that_its_truth_does_not_know() -> None:
    for name in phantom_names():
        for hospital in read_hospitals():
            assert site_of(hospital, read_phantom(name)).look.metal == 0.0
