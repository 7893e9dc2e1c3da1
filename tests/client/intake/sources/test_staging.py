"""Which films are asked of a PACS, and how they come: whole, keyed, for the owner only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from client.intake.films import WITHDRAWN
from client.intake.inputs import ABSENT, FilmFile
from client.intake.sources import staging
from client.intake.sources.staging import FilmNotSent, FilmQuery, FilmWriter, ListedFilm, stage
from client.site.linkage import Pseudonyms
from shared.errors import IntakeError

FIRST, LAST = date(2020, 1, 2), date(2021, 12, 31)


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (None, None, ""),
        (FIRST, None, "20200102-"),
        (None, LAST, "-20211231"),
        (FIRST, LAST, "20200102-20211231"),
    ],
)
def test_days_are_a_range_matching_key(first: date | None, last: date | None, text: str) -> None:
    assert FilmQuery(first_day=first, last_day=last).day_range() == text


@pytest.mark.parametrize(
    ("modality", "part", "is_wanted"),
    [
        ("DX", "HIP", True),
        ("dx", "hip", True),
        ("CR", "HIP", True),
        ("CT", "HIP", False),
        ("DX", "CHEST", False),
        # a hip in other words
        ("DX", "HÜFTE RE", True),
        ("DX", "LHIP", True),
        ("DX", "BECKEN", False),
        # nobody here knows what it is
        ("DX", "UP_EXM", True),
        # a series that does not say what it is may hold what is wanted
        ("", "HIP", True),
        ("DX", "", True),
        ("", "", True),
        ("CT", "", False),
    ],
)
def test_a_series_is_wanted_unless_it_says_that_it_is_something_else(
    modality: str, part: str, is_wanted: bool
) -> None:
    assert FilmQuery(body_parts=("Hip",)).wants_series(modality, part) is is_wanted


def test_without_body_parts_all_are_wanted() -> None:
    assert FilmQuery().wants_series("DX", "SKULL")


def test_a_films_place_leads_back_to_it_and_is_never_shown() -> None:
    film = ListedFilm("1.2", "3", "4", "Canary")
    assert film.place == "pacs 1.2/3/4"
    assert "Canary" not in repr(film)
    assert "1.2" not in repr(film)


class Pacs:
    """A PACS with these films; ``absent`` are listed and do not come, ``broken`` end its answers."""

    def __init__(
        self, *films: ListedFilm, absent: tuple[str, ...] = (), broken: tuple[str, ...] = ()
    ) -> None:
        self.films, self.absent, self.broken = films, absent, broken
        self.fetched: list[str] = []
        self.asked: list[FilmQuery] = []

    def list_films(self, query: FilmQuery) -> Iterator[ListedFilm]:
        self.asked.append(query)
        return iter(self.films)

    def fetch(self, film: ListedFilm, out: FilmWriter) -> None:
        self.fetched.append(film.instance)
        if film.instance in self.absent:
            raise FilmNotSent
        assert out.write(f"film {film.instance}".encode()) > 0
        if film.instance in self.broken:
            raise IntakeError("pacs-unreachable", "it went away", hint="")

    def close(self) -> None:
        raise AssertionError("whoever opened it closes it")


KEYS = Pseudonyms(b"k" * 32)
QUERY = FilmQuery(first_day=FIRST)


def film(instance: str, patient: str = "P1") -> ListedFilm:
    return ListedFilm("1", "2", instance, patient)


def bring(
    pacs: Pacs,
    folder: Path,
    *,
    withdrawn: tuple[str, ...] = (),
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, FilmFile]:
    gone = {KEYS.patient_key("clinic", number) for number in withdrawn}
    staged = stage(
        pacs,
        QUERY,
        folder,
        pseudonyms=KEYS,
        issuer="clinic",
        is_withdrawn=gone.__contains__,
        progress=progress,
    )
    assert [each.place for each in staged] == sorted(each.place for each in staged)
    return {each.place.rpartition("/")[2]: each for each in staged}


def test_films_come_under_keyed_names_for_the_owner_only(tmp_path: Path) -> None:
    folder, pacs = tmp_path / "staging", Pacs(film("b"), film("a"), film("c", "P2"))
    seen: list[tuple[int, int]] = []
    found = bring(pacs, folder, progress=lambda done, n: seen.append((done, n)))
    assert pacs.asked == [QUERY]
    assert [each.code for each in found.values()] == [""] * 3
    for name, number in (("a", "P1"), ("b", "P1"), ("c", "P2")):
        path = found[name].path
        assert path == folder / KEYS.patient_key("clinic", number) / f"{KEYS.film_key(name)}.dcm"
        assert path.read_bytes() == f"film {name}".encode()
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o077 == 0
    assert folder.stat().st_mode & 0o077 == 0
    assert seen == [(0, 1), (0, 2), (0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_film_that_is_there_is_not_fetched_again_and_a_torn_one_is(tmp_path: Path) -> None:
    first = bring(Pacs(film("a"), film("b")), tmp_path)
    torn = first["b"].path.with_suffix(".part")
    first["b"].path.rename(torn)
    pacs = Pacs(film("a"), film("b"), film("b"))
    again = bring(pacs, tmp_path)
    assert pacs.fetched == ["b"], "and one that is listed twice comes once"
    assert not torn.exists()
    assert again["b"].path.read_bytes() == b"film b"


def test_of_who_withdrew_nothing_is_fetched_and_what_lay_there_is_deleted(tmp_path: Path) -> None:
    before = bring(Pacs(film("a"), film("c", "P2")), tmp_path)
    pacs = Pacs(film("a"), film("b"), film("c", "P2"))
    found = bring(pacs, tmp_path, withdrawn=("P1",))
    assert pacs.fetched == []
    assert not before["a"].path.parent.exists()
    assert before["c"].path.exists()
    assert {name: each.code for name, each in found.items()} == {
        "a": WITHDRAWN,
        "b": WITHDRAWN,
        "c": "",
    }


def test_a_film_that_does_not_come_is_listed_with_a_code_and_leaves_nothing(tmp_path: Path) -> None:
    pacs = Pacs(film("a"), film("b"), film(""), absent=("b",))
    found = bring(pacs, tmp_path)
    assert {name: each.code for name, each in found.items()} == {"a": "", "b": ABSENT, "": ABSENT}
    assert pacs.fetched == ["a", "b"], "a study without films has nothing to fetch"
    assert [path.name for path in tmp_path.rglob("*.*")] == [found["a"].path.name]


def test_a_film_larger_than_any_is_cut_off_and_one_of_the_largest_size_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "MAX_FILE_BYTES", len("film aa"))
    found = bring(Pacs(film("aa"), film("aaa")), tmp_path)
    assert {name: each.code for name, each in found.items()} == {"aa": "", "aaa": "intake.too-large"}
    assert not found["aaa"].path.exists()
    assert not list(tmp_path.rglob("*.part"))


def test_a_pacs_that_goes_away_leaves_what_came_and_no_half_film(tmp_path: Path) -> None:
    with pytest.raises(IntakeError, match="it went away"):
        bring(Pacs(film("a"), film("b"), film("c"), broken=("b",)), tmp_path)
    assert [path.read_bytes() for path in tmp_path.rglob("*.*")] == [b"film a"]


def test_a_pacs_of_which_nothing_comes_at_all_is_given_up_after_twenty_films(tmp_path: Path) -> None:
    names = tuple(f"{number:02d}" for number in range(40))
    films = [film(name) for name in names]
    silent = Pacs(*films, absent=names)
    with pytest.raises(IntakeError) as caught:
        bring(silent, tmp_path)
    assert caught.value.code == "intake.pacs-unreachable"
    assert len(silent.fetched) == 20
    # nineteen that do not come are an accident, and so are many after one that came
    few = Pacs(*films[:19], absent=names)
    assert {each.code for each in bring(few, tmp_path).values()} == {ABSENT}
    once = Pacs(*films, absent=names[1:])
    assert [each.code for each in bring(once, tmp_path).values()] == ["", *[ABSENT] * 39]
