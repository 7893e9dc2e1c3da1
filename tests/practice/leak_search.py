"""Finds a word in bytes however it may have been written down on its way there."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import quote

_DAY = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)")


class Haystack:
    """Bytes to search; text is compared without regard to ASCII case."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._lower = data.lower()

    def has(self, word: str) -> bool:
        """Whether the word stands there in any of its forms."""
        return (
            any(self._has_day(text) for text in _days(word))
            or any(form.lower() in self._lower for form in _texts(word))
            or any(form in self._data for text in (word, *_days(word)) for form in _encoded(text))
        )

    def _has_day(self, text: str) -> bool:
        # eight digits stand in long random numbers by chance, but not where a number begins
        at = self._data.find(text.encode())
        while at > 0 and self._data[at - 1 : at] in b"0123456789.":
            at = self._data.find(text.encode(), at + 1)
        return at >= 0


def _days(word: str) -> list[str]:
    """A date as DICOM, ISO 8601 and people write it; nothing for other words."""
    parts = _DAY.fullmatch(word)
    if parts is None:
        return []
    year, month, day = parts.groups()
    return [f"{year}{month}{day}", f"{year}-{month}-{day}", f"{day}.{month}.{year}"]


def _texts(word: str) -> Iterator[bytes]:
    """Character sets, JSON's and a URL's escapes, hexadecimal digits."""
    if _DAY.fullmatch(word) is None:
        yield word.encode("utf-8")
        yield word.encode("latin-1")
        yield json.dumps(word)[1:-1].encode()
        yield quote(word).encode()
    for text in (word, *_days(word)):
        yield text.encode("utf-16-le")
        yield text.encode("utf-16-be")
        yield text.encode().hex().encode()


def _encoded(word: str) -> Iterator[bytes]:
    """Base64 of a longer text that holds the word, wherever in it the word begins."""
    for data in (word.encode("utf-8"), word.encode("utf-16-le")):
        for shift in range(3):
            whole = b64encode(b"\0" * shift + data)
            inner = whole[-(-shift * 8 // 6) : (shift + len(data)) * 8 // 6]
            yield inner
            yield inner.translate(bytes.maketrans(b"+/", b"-_"))
