"""The search for leaks finds what was planted, however it was written down on its way."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

import pytest
from leak_search import Haystack

NAME = "Zaunkönigin^Adelgunde"


@pytest.mark.parametrize(
    "write",
    [
        lambda word: word.encode(),
        lambda word: word.encode().upper(),
        lambda word: word.encode("utf-16-le"),
        lambda word: word.encode("utf-16-be"),
        lambda word: word.encode("latin-1"),
        lambda word: json.dumps(word).encode(),
        lambda word: quote(word).encode(),
        lambda word: word.encode().hex().encode(),
        lambda word: b64encode(word.encode()),
        lambda word: b64encode(b"a" + word.encode() + b"bc"),
        lambda word: urlsafe_b64encode(b"ab" + word.encode("utf-16-le")),
    ],
)
@pytest.mark.parametrize("word", [NAME, "2021-03-05", "20210305"])
def test_the_search_finds_a_word_however_it_is_written(write, word) -> None:
    assert Haystack(b"\0x" + write(word) + b"x").has(word)
    assert not Haystack(b"\0x" + write(f"1{word[1:]}") + b"x").has(word)
