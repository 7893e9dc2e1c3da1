"""Films over DICOMweb: QIDO-RS finds them, WADO-RS sends them as they are stored (PS3.18 10.4, 10.6).

The one door to ``httpx``. Only a status or an exception's name ever gets into an error's text.
"""

from __future__ import annotations

import logging
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import httpx

from client.intake.sources.credentials import trust
from client.intake.sources.listing import KEYS, Answer, Level, list_levels
from client.intake.sources.staging import FilmNotSent, FilmQuery, FilmWriter, ListedFilm
from shared.errors import IntakeError

logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log addresses with study UIDs

_PAGE = 200
_RETRIES = 3
_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_TAGS = {
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "SOPInstanceUID": "00080018",
    "Modality": "00080060",
    "BodyPartExamined": "00180015",
    "PatientID": "00100020",
}
_TOKEN = re.compile(r"bearer [\w.~+/=-]+", re.ASCII | re.IGNORECASE)
_NOT_NOW = frozenset({401, 403, 407, 408, 429, 502, 503, 504})  # of the PACS, not of one film
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class DicomWeb:
    """A PACS that speaks DICOMweb.

    Args:
        url: where ``/studies`` lies, without credentials.
        login: ``user:password`` (RFC 7617) or ``Bearer token`` (RFC 6750); only sent over TLS, or to
            this machine.
        ca: the authority that signed the PACS's certificate, a PEM file; the system's if None.
        timeout_s: longest wait for an answer to begin, or to go on.

    Raises:
        IntakeError: the address, the login or the authority's file is none, or something that must not
            would travel in the clear.
    """

    def __init__(
        self, url: str, *, login: str | None = None, ca: Path | None = None, timeout_s: float = 60.0
    ) -> None:
        parts = _parts(url)
        if login and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise IntakeError(
                "login-in-the-clear",
                "credentials are not sent over http to another machine",
                hint="use the PACS's https address",
            )
        if ca is not None and parts.scheme == "http":
            raise IntakeError(
                "films-in-the-clear",
                "an authority is named, but the address is http: nothing would be encrypted",
                hint="use the PACS's https address, or leave out --ca",
            )
        self._http = httpx.Client(
            base_url=url.rstrip("/") + "/",
            headers={"Authorization": _authorization(login)} if login else {},
            timeout=timeout_s,
            trust_env=False,
            transport=httpx.HTTPTransport(verify=trust(ca), retries=_RETRIES),
        )

    def list_films(self, query: FilmQuery) -> Iterator[ListedFilm]:
        """Films of the studies, then series, that match; a study is asked for once."""
        return list_levels(self._find, query)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _find(self, level: Level, wanted: Mapping[str, str]) -> list[Answer]:
        """All answers to a QIDO query, page by page until one brings nothing new.

        A server may send fewer than asked for on any page; one without paging repeats itself. Some
        (Orthanc's plugin, of studies by modality) cut to ``limit`` before they skip ``offset``, so the
        limit grows with it.
        """
        path = "studies"
        if level != "STUDY":
            path += f"/{quote(wanted['StudyInstanceUID'], safe='')}/series"
        if level == "IMAGE":
            path += f"/{quote(wanted['SeriesInstanceUID'], safe='')}/instances"
        asked = {key: value for key, value in wanted.items() if key not in _TAGS}
        if level == "SERIES":
            asked["includefield"] = _TAGS["BodyPartExamined"]
        found: dict[str, Answer] = {}
        while True:
            where = {"limit": str(len(found) + _PAGE), "offset": str(len(found))}
            page, has_more = self._page(path, asked | where)
            answers = [{key: _value(entry, _TAGS[key]) for key in KEYS[level]} for entry in page]
            new = {answer[KEYS[level][0]]: answer for answer in answers}
            if new.keys() <= found.keys():
                break
            found |= new
        if has_more:
            raise IntakeError(
                "pacs-unreachable",
                "the PACS says that it has more matches, and does not send them",
                hint="ask for fewer days at a time, with --from and --to",
            )
        return list(found.values())

    def _page(self, path: str, asked: dict[str, str]) -> tuple[list[dict[str, Any]], bool]:
        """Some answers, and whether the server says that there are more (PS3.18 8.3.4.4)."""
        try:
            answer = self._http.get(path, params=asked, headers={"Accept": "application/dicom+json"})
            has_more = answer.headers.get("warning", "").startswith("299")
            if answer.status_code == httpx.codes.NO_CONTENT:
                return [], has_more
            answer.raise_for_status()
            found = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise _unreachable(error) from None
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise _unreachable(TypeError())
        return found, has_more

    def fetch(self, film: ListedFilm, out: FilmWriter) -> None:
        """One film, streamed; in the transfer syntax in which it is stored."""
        names = [quote(name, safe="") for name in (film.study, film.series, film.instance)]
        path = "studies/{}/series/{}/instances/{}".format(*names)
        try:
            with self._http.stream("GET", path, headers={"Accept": _STORED}) as answer:
                if answer.status_code in _NOT_NOW:
                    answer.raise_for_status()
                if answer.status_code != httpx.codes.OK:
                    raise FilmNotSent
                write_part(answer.headers.get("content-type", ""), answer.iter_bytes(), out)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unreachable(error) from None


def write_part(content_type: str, chunks: Iterator[bytes], out: FilmWriter) -> None:
    """Write the first part of a multipart answer (RFC 2046 5.1.1), or the whole of a plain one.

    Raises:
        FilmNotSent: the answer has no part, or ends before its boundary.
    """
    if content_type.strip().lower().startswith("application/dicom"):
        for chunk in chunks:
            out.write(chunk)
        return
    start = b""
    for chunk in chunks:
        start += chunk
        if b"\r\n\r\n" in start or len(start) > 2**16:
            break
    head, found, body = start.partition(b"\r\n\r\n")
    mark = head.lstrip(b"\r\n").split(b"\r\n")[0]
    if not found or not mark.startswith(b"--") or len(mark) < 3:
        raise FilmNotSent
    end = b"\r\n" + mark
    for chunk in chunks:
        at = body.find(end)
        if at >= 0:
            break
        # the boundary may be split between chunks: its length is held back
        out.write(body[: -len(end)])
        body = body[-len(end) :] + chunk
    at = body.find(end)
    if at < 0:
        raise FilmNotSent
    out.write(body[:at])


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        httpx.URL(url)
        is_named = bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
        is_sound = is_named and parts.scheme in ("http", "https")
    except (ValueError, httpx.InvalidURL):  # an odd port, a bracket left open
        is_sound = False
    if not is_sound:
        raise IntakeError(
            "invalid-pacs-url",
            "a DICOMweb address must be http(s)://host/path without user or password",
            hint="put credentials into OSTEOFED_DICOMWEB_LOGIN or a file for the owner only",
        )
    return parts


def _authorization(login: str) -> str:
    if _TOKEN.fullmatch(login):
        return login
    user, colon, _ = login.partition(":")
    if not colon or not user or not login.isprintable():
        raise IntakeError(
            "invalid-login",
            "the PACS's login must be user:password or Bearer token, on one line",
            hint="see to OSTEOFED_DICOMWEB_LOGIN or the file of --login-file",
        )
    return "Basic " + b64encode(login.encode()).decode()


def _value(answer: dict[str, Any], tag: str) -> str:
    """The first value of an attribute in the DICOM JSON model (PS3.18 F.2), as text."""
    attribute = answer.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return str(values[0] or "").strip() if isinstance(values, list) and values else ""


def _unreachable(error: Exception) -> IntakeError:
    status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else ""
    return IntakeError(
        "pacs-unreachable",
        f"the PACS does not answer as it should: {type(error).__name__} {status}".rstrip(),
        hint="check address, certificate and credentials, then run again: what has come stays",
    )
