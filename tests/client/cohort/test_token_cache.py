"""Names of cached tokens: another cohort, encoder or grid is another file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from client.cohort.token_cache import delete_tokens, token_file


def plan(encoder: str = "e" * 64, grid: int = 7) -> SimpleNamespace:
    settings = SimpleNamespace(encoder=SimpleNamespace(token_grid=grid))
    return SimpleNamespace(encoder_sha256=encoder, settings=settings)


def cohort(letter: str) -> SimpleNamespace:
    return SimpleNamespace(fingerprint=letter * 64)


def test_each_cohort_encoder_and_grid_has_a_file_of_its_own(tmp_path: Path) -> None:
    site = SimpleNamespace(folder=tmp_path)
    files = {
        token_file(site, plan(), cohort("a")),
        token_file(site, plan(), cohort("b")),
        token_file(site, plan(encoder="f" * 64), cohort("a")),
        token_file(site, plan(grid=4), cohort("a")),
    }
    assert len(files) == 4
    assert {file.parent for file in files} == {tmp_path / "cache" / "tokens"}


def test_deleting_takes_every_encoder_of_one_cohort_and_no_other_cohort(tmp_path: Path) -> None:
    site = SimpleNamespace(folder=tmp_path)
    gone = [token_file(site, plan(), cohort("a")), token_file(site, plan(grid=4), cohort("a"))]
    kept = token_file(site, plan(), cohort("b"))
    kept.parent.mkdir(parents=True)
    for file in (*gone, kept):
        file.write_bytes(b"tokens")
    delete_tokens(site, cohort("a"))
    assert list(kept.parent.iterdir()) == [kept]
    delete_tokens(site, cohort("a"))  # again, or where there never were any
