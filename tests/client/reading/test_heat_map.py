"""The picture beside a reading: a row per view, written where it was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from client.reading.heat_map import write_heat_maps

PNG = b"\x89PNG\r\n\x1a\n"


def size_of(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data.startswith(PNG)
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def films(n: int) -> list[np.ndarray]:
    return [np.random.default_rng(k).random((16, 16), dtype=np.float32) for k in range(n)]


def test_each_view_has_a_row(tmp_path: Path) -> None:
    sizes = []
    for n in (1, 2):
        path = tmp_path / "deep" / f"{n}.png"
        write_heat_maps(
            path, films(n), films(n), caption="BMD 0.55", title="", unit="g/cm²", field_attention={}
        )
        sizes.append(size_of(path))
    # 3.5 inches a row and 0.9 for the caption, at 110 dots
    assert sizes == [(792, 484), (792, 869)]


def test_a_picture_is_for_the_eyes_of_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    write_heat_maps(path, films(1), films(1), caption="", title="", unit="", field_attention={})
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_changes_nothing_is_a_picture_too(tmp_path: Path) -> None:
    path = tmp_path / "flat.png"
    write_heat_maps(
        path,
        films(1),
        [np.zeros((16, 16), np.float32)],
        caption="",
        title="",
        unit="",
        field_attention={},
    )
    assert size_of(path) == (792, 484)


def test_attention_to_fields_is_a_row_of_bars_below_the_films(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: drawn.append(figure))
    shares = {"age": 0.6, "bmi": 0.4}
    write_heat_maps(
        tmp_path / "x.png", films(1), films(1), caption="", title="", unit="", field_attention=shares
    )
    bars = [patch.get_width() for axes in drawn[0].axes for patch in axes.patches]
    assert bars == [0.6, 0.4]
    assert drawn[0].get_size_inches().tolist() == pytest.approx([7.2, 7.9])


def test_a_film_without_its_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="argument"):
        write_heat_maps(
            tmp_path / "x.png", films(2), films(1), caption="", title="", unit="", field_attention={}
        )


def test_all_views_share_one_scale_up_to_the_strongest_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: drawn.append(figure))
    maps = [np.full((16, 16), top, np.float32) for top in (0.2, 0.5, 0.1)]
    write_heat_maps(
        tmp_path / "x.png",
        films(3),
        maps,
        caption="BMD 0.55",
        title="",
        unit="g/cm²",
        field_attention={},
    )
    images = [image for axes in drawn[0].axes for image in axes.images]
    limits = [image.get_clim() for image in images if image.get_cmap().name == "inferno"]
    assert limits == [pytest.approx((0.0, 0.5))] * 3
    greys = [image.get_clim() for image in images if image.get_cmap().name == "gray"]
    assert greys == [(0.0, 1.0)] * 6
    assert "not a medical device" in drawn[0].get_suptitle()


def test_a_map_that_is_not_reliable_leaves_its_film_bare_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: drawn.append(figure))
    maps = [None, np.full((16, 16), 0.2, np.float32)]
    write_heat_maps(
        tmp_path / "x.png", films(2), maps, caption="", title="seen", unit="", field_attention={}
    )
    titles = [axes.get_title() for axes in drawn[0].axes if axes.get_title()]
    assert titles[1::2] == ["no map: not reliable", "seen"]
    colours = [image.get_cmap().name for axes in drawn[0].axes for image in axes.images]
    assert colours.count("inferno") == 1


def test_a_map_that_speaks_for_and_against_is_drawn_on_both_sides_of_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: drawn.append(figure))
    signed = np.full((16, 16), 0.2, np.float32)
    signed[0] = -0.5
    write_heat_maps(
        tmp_path / "x.png", films(1), [signed], caption="", title="", unit="", field_attention={}
    )
    images = [image for axes in drawn[0].axes for image in axes.images]
    limits = [image.get_clim() for image in images if image.get_cmap().name == "coolwarm"]
    assert limits == [pytest.approx((-0.5, 0.5))]
