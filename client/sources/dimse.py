"""Films over DIMSE: C-FIND lists them, C-GET or C-MOVE brings them (PS3.4 C.4.1 to C.4.3, study root).

The one door to ``pynetdicom``. A C-MOVE needs a PACS that knows where this calling AE title listens;
C-GET needs no open port. Films are kept as they arrive, undecoded.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Literal

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from client.sources.staging import FilmNotSent, FilmQuery, FilmWriter, ListedFilm
from shared.errors import IntakeError
from shared.exam.dicom import DECODERS, MAX_FILE_BYTES, RADIOGRAPHS

logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # it logs identifiers

_PENDING = frozenset({0xFF00, 0xFF01})
_SUCCESS, _OUT_OF_RESOURCES = 0x0000, 0xA700


@dataclass(frozen=True, kw_only=True)
class DimseAddress:
    """Where a PACS listens, by which names the two know each other, how films come.

    ``listen_port``: for ``move``, where the PACS sends them; ``listen_host`` is this machine alone.
    """

    host: str
    port: int
    called_aet: str
    calling_aet: str
    retrieve: Literal["get", "move"] = "get"
    listen_host: str = "127.0.0.1"
    listen_port: int = 11112


class Dimse:
    """A PACS that speaks DIMSE."""

    def __init__(self, address: DimseAddress, *, timeout_s: float = 60.0) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._expected = ""
        self._received: bytes | None = None
        self._association: Association | None = None

    def list_films(self, query: FilmQuery) -> Iterator[ListedFilm]:
        """Films of the studies, then series, that match; a study is asked for once."""
        application = self._application()
        application.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
        with self._associated(application) as association:
            seen: set[str] = set()
            for modality in query.modalities:
                wanted = {"ModalitiesInStudy": modality, "StudyDate": query.day_range()}
                for study in _find(association, "STUDY", wanted, ("StudyInstanceUID", "PatientID")):
                    uid = _text(study, "StudyInstanceUID")
                    if uid and uid not in seen:
                        seen.add(uid)
                        yield from _films_of(association, uid, _text(study, "PatientID"), query)

    def fetch(self, film: ListedFilm, out: FilmWriter) -> None:
        """One film, by C-GET or C-MOVE, in one association for all of them."""
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "IMAGE"
        identifier.StudyInstanceUID = film.study
        identifier.SeriesInstanceUID = film.series
        identifier.SOPInstanceUID = film.instance
        self._expected, self._received = film.instance, None
        association = self._open_association()
        if self._address.retrieve == "get":
            model = StudyRootQueryRetrieveInformationModelGet
            answers = association.send_c_get(identifier, model)
        else:
            model = StudyRootQueryRetrieveInformationModelMove
            answers = association.send_c_move(identifier, self._address.calling_aet, model)
        try:
            statuses = [status.get("Status") for status, _ in answers]
        except (RuntimeError, ValueError):  # no presentation context, or not associated any more
            raise _unreachable("the PACS ended the association") from None
        if not association.is_established:
            raise _unreachable("the PACS ended the association")
        data, self._expected, self._received = self._received, "", None
        if data is None or statuses[-1:] != [_SUCCESS]:
            raise FilmNotSent
        out.write(data)

    def close(self) -> None:
        """Release the association and stop listening."""
        if self._association is not None:
            if self._association.is_established:
                self._association.release()
            self._association.ae.shutdown()
            self._association = None

    def _open_association(self) -> Association:
        if self._association is not None and self._association.is_established:
            return self._association
        self.close()
        application = self._application()
        handlers: list[EventHandlerType] = [(evt.EVT_C_STORE, self._keep)]
        if self._address.retrieve == "get":
            application.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
            for kind, syntax in product(sorted(RADIOGRAPHS), DECODERS):
                # one context each: of several syntaxes in one, a PACS picks one for all films
                application.add_requested_context(kind, syntax)
        else:
            application.add_requested_context(StudyRootQueryRetrieveInformationModelMove)
            for kind in sorted(RADIOGRAPHS):
                application.add_supported_context(kind, list(DECODERS))
            where = (self._address.listen_host, self._address.listen_port)
            try:
                application.start_server(where, block=False, evt_handlers=handlers)
            except OSError as error:
                raise IntakeError(
                    "cannot-listen",
                    f"port {where[1]} cannot be opened: {type(error).__name__}",
                    hint="choose another --listen port that the PACS knows, or --retrieve get",
                ) from None
        self._association = self._associate(application, handlers)
        return self._association

    def _application(self) -> AE:
        application = AE(ae_title=self._address.calling_aet)
        application.acse_timeout = application.dimse_timeout = self._timeout_s
        application.network_timeout = application.connection_timeout = self._timeout_s
        application.require_called_aet = True
        application.require_calling_aet = [self._address.called_aet]
        return application

    def _associate(
        self, application: AE, handlers: list[EventHandlerType] | None = None
    ) -> Association:
        where = (self._address.host, self._address.port)
        try:  # pynetdicom leaves its socket open where nobody listens
            socket.create_connection(where, timeout=self._timeout_s).close()
        except OSError:
            application.shutdown()
            raise _unreachable("nobody listens at the PACS's address") from None
        is_get = handlers is not None and self._address.retrieve == "get"
        association = application.associate(
            self._address.host,
            self._address.port,
            ae_title=self._address.called_aet,
            ext_neg=[build_role(kind, scp_role=True) for kind in sorted(RADIOGRAPHS)] if is_get else [],
            evt_handlers=handlers if is_get else [],
            max_pdu=0,
        )
        if not association.is_established:
            application.shutdown()
            raise _unreachable("the PACS refuses the association")
        return association

    @contextmanager
    def _associated(self, application: AE) -> Iterator[Association]:
        association = self._associate(application)
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def _keep(self, event: evt.Event) -> int:
        """Take a film that the PACS sends; only one is ever asked for at a time."""
        data = event.encoded_dataset()
        uid = str(getattr(event.request, "AffectedSOPInstanceUID", ""))
        if len(data) > MAX_FILE_BYTES or uid != self._expected:
            return _OUT_OF_RESOURCES
        self._received = data
        return _SUCCESS


def _films_of(
    association: Association, study: str, patient_id: str, query: FilmQuery
) -> Iterator[ListedFilm]:
    wanted = {"StudyInstanceUID": study}
    keys = ("SeriesInstanceUID", "Modality", "BodyPartExamined")
    for series in list(_find(association, "SERIES", wanted, keys)):
        uid = _text(series, "SeriesInstanceUID")
        if uid and query.wants_series(_text(series, "Modality"), _text(series, "BodyPartExamined")):
            below = wanted | {"SeriesInstanceUID": uid}
            for image in list(_find(association, "IMAGE", below, ("SOPInstanceUID",))):
                name = _text(image, "SOPInstanceUID")
                if name:
                    yield ListedFilm(study, uid, name, patient_id)


def _find(
    association: Association, level: str, wanted: dict[str, str], keys: tuple[str, ...]
) -> list[Dataset]:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword in keys:
        setattr(identifier, keyword, "")
    for keyword, value in wanted.items():
        setattr(identifier, keyword, value)
    found: list[Dataset] = []
    status = None
    try:
        model = StudyRootQueryRetrieveInformationModelFind
        for answer, match in association.send_c_find(identifier, model):
            status = answer.get("Status")
            if status in _PENDING and match is not None:
                found.append(match)
    except (RuntimeError, ValueError):
        status = None
    if status != _SUCCESS:
        raise _unreachable("the PACS does not answer a query")
    return found


def _text(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()


def _unreachable(fact: str) -> IntakeError:
    return IntakeError(
        "pacs-unreachable",
        fact,
        hint="check address, AE titles and what the PACS allows, then run again: what has come stays",
    )
