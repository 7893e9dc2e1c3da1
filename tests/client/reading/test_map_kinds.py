"""Every kind of map has words beside it."""

from __future__ import annotations

from typing import get_args

from client.reading.map_kinds import WORDS, MapKind


def test_each_kind_has_a_title_of_its_own() -> None:
    assert tuple(WORDS) == get_args(MapKind)
    assert len({words.title for words in WORDS.values()}) == len(WORDS)
