"""Films over DICOMweb: QIDO-RS finds them, WADO-RS sends them as they are stored (PS3.18 10.4, 10.6).

The one door to ``httpx``. Only a status or an exception's name ever gets into an error's text.
"""

from __future__ import annotations

import logging
import ssl
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from client.sources.staging import FilmNotSent, FilmQuery, FilmWriter, ListedFilm
from shared.errors import IntakeError

logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log addresses with study UIDs

_PAGE = 200
_RETRIES = 3
_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_MODALITY, _PART, _PATIENT = "00080060", "00180015", "00100020"
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
        IntakeError: credentials in the URL, or that would travel in the clear.
    """

    def __init__(
        self, url: str, *, login: str | None = None, ca: Path | None = None, timeout_s: float = 60.0
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise IntakeError(
                "invalid-pacs-url",
                "a DICOMweb address must be http(s)://host/path without user or password",
                hint="put credentials into OSTEOFED_DICOMWEB_LOGIN or a file for the owner only",
            )
        if login and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise IntakeError(
                "login-in-the-clear",
                "credentials are not sent over http to another machine",
                hint="use the PACS's https address",
            )
        verify = ssl.create_default_context(cafile=None if ca is None else str(ca))
        self._http = httpx.Client(
            base_url=url.rstrip("/") + "/",
            headers={"Authorization": _authorization(login)} if login else {},
            timeout=timeout_s,
            trust_env=False,
            transport=httpx.HTTPTransport(verify=verify, retries=_RETRIES),
        )

    def list_films(self, query: FilmQuery) -> Iterator[ListedFilm]:
        """Films of the studies, then series, that match; a study is asked for once."""
        seen: set[str] = set()
        for modality in query.modalities:
            wanted = {"ModalitiesInStudy": modality}
            if query.day_range():
                wanted["StudyDate"] = query.day_range()
            for study in self._find("studies", wanted):
                uid = _value(study, _STUDY)
                if uid and uid not in seen:
                    seen.add(uid)
                    yield from self._films_of(uid, _value(study, _PATIENT), query)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _films_of(self, study: str, patient_id: str, query: FilmQuery) -> Iterator[ListedFilm]:
        path = f"studies/{quote(study, safe='')}/series"
        for series in self._find(path, {"includefield": _PART}):
            uid = _value(series, _SERIES)
            if uid and query.wants_series(_value(series, _MODALITY), _value(series, _PART)):
                for instance in self._find(f"{path}/{quote(uid, safe='')}/instances", {}):
                    name = _value(instance, _INSTANCE)
                    if name:
                        yield ListedFilm(study, uid, name, patient_id)

    def _find(self, path: str, wanted: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Answers to a QIDO query, page by page; a server without paging repeats itself."""
        before: object = None
        for page in range(10**6):
            limits = {"limit": str(_PAGE), "offset": str(page * _PAGE)}
            answers = self._page(path, wanted | limits)
            if answers == before:
                return
            yield from (answer for answer in answers if isinstance(answer, dict))
            if len(answers) < _PAGE:
                return
            before = answers

    def _page(self, path: str, wanted: dict[str, str]) -> list[Any]:
        try:
            answer = self._http.get(path, params=wanted, headers={"Accept": "application/dicom+json"})
            if answer.status_code == httpx.codes.NO_CONTENT:
                return []
            answer.raise_for_status()
            found = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise _unreachable(error) from None
        if not isinstance(found, list):
            raise _unreachable(TypeError())
        return found

    def fetch(self, film: ListedFilm, out: FilmWriter) -> None:
        """One film, streamed; in the transfer syntax in which it is stored."""
        names = [quote(name, safe="") for name in (film.study, film.series, film.instance)]
        path = "studies/{}/series/{}/instances/{}".format(*names)
        try:
            with self._http.stream("GET", path, headers={"Accept": _STORED}) as answer:
                if answer.status_code in (401, 403, 502, 503, 504):
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


def _authorization(login: str) -> str:
    is_bearer = login.lower().startswith("bearer ")
    return login if is_bearer else "Basic " + b64encode(login.encode()).decode()


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
