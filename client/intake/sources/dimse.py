"""Films over DIMSE: C-FIND lists them, C-GET or C-MOVE brings them (PS3.4 C.4.1 to C.4.3, study root).

The one door to ``pynetdicom``. A C-MOVE needs a PACS that knows where this calling AE title listens;
C-GET needs no open port. Films are kept as they arrive, undecoded.
"""

from __future__ import annotations

import logging
import socket
import ssl
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Literal

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_FIND, C_GET, C_MOVE
from pynetdicom.dsutils import decode, encode
from pynetdicom.events import EventHandlerType
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from client.intake.decode import DECODERS
from client.intake.dicom import RADIOGRAPHS
from client.intake.sources.credentials import trust
from client.intake.sources.listing import KEYS, Answer, Level, list_levels
from client.intake.sources.staging import FilmNotSent, FilmQuery, FilmWriter, ListedFilm
from shared.errors import IntakeError

logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # it logs identifiers

_PENDING = frozenset({0xFF00, 0xFF01})
_SUCCESS, _OUT_OF_RESOURCES = 0x0000, 0xA700
# Statuses of a C-GET or C-MOVE (PS3.4 C.4.2.1.5) that are of this one film, come or not. Any other (no
# such destination, not authorised, cancelled) is of the PACS, and holds for the next film too.
_OF_THIS_FILM = frozenset({_SUCCESS, 0xA702, 0xB000, *range(0xC000, 0xD000)})
_TICK_S = 0.2  # how soon an association that ended is noticed


@contextmanager
def _unchecked() -> Iterator[None]:
    """Archives hold UIDs and numbers that the standard does not allow, and pydicom warns with them."""
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True, kw_only=True)
class DimseAddress:
    """Where a PACS listens, by which names the two know each other, how films come.

    ``ca``: speak TLS with a PACS whose certificate this authority signed, a PEM file.
    ``listen_port``: for ``move``, where the PACS sends them; ``listen_host`` is this machine alone.
    """

    host: str
    port: int
    called_aet: str
    calling_aet: str
    ca: Path | None = None
    retrieve: Literal["get", "move"] = "get"
    listen_host: str = "127.0.0.1"
    listen_port: int = 11112


class Dimse:
    """A PACS that speaks DIMSE.

    Args:
        address: where and how.
        timeout_s: longest wait for an answer to begin, or to go on.

    Raises:
        IntakeError: the authority's file cannot be read, or films would come in the clear beside TLS.
    """

    def __init__(self, address: DimseAddress, *, timeout_s: float = 60.0) -> None:
        if address.ca is not None and address.retrieve == "move":
            raise IntakeError(
                "films-in-the-clear",
                "with C-MOVE the PACS opens a second connection for the films, which is not encrypted",
                hint="leave out --move: C-GET brings films over the TLS connection; or leave out --ca",
            )
        self._address = address
        self._tls = None if address.ca is None else trust(address.ca)
        self._timeout_s = timeout_s
        self._expected = ""
        self._received: bytes | None = None
        self._line: _Line | None = None

    def list_films(self, query: FilmQuery) -> Iterator[ListedFilm]:
        """Films of the studies, then series, that match; a study is asked for once."""
        application = self._application()
        application.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
        line = self._connect(application)
        try:
            yield from list_levels(line.find, query)
        finally:
            line.close()

    @_unchecked()
    def fetch(self, film: ListedFilm, out: FilmWriter) -> None:
        """One film, by C-GET or C-MOVE, in one association for all of them."""
        wanted = {
            "StudyInstanceUID": film.study,
            "SeriesInstanceUID": film.series,
            "SOPInstanceUID": film.instance,
        }
        self._expected, self._received = film.instance, None
        _, status = self._open_line().ask(self._retrieve_request(), "IMAGE", wanted)
        data, self._expected, self._received = self._received, "", None
        if status not in _OF_THIS_FILM:
            raise _unreachable(f"the PACS refuses to send films: status {status:04X}")
        if data is None:
            raise FilmNotSent
        out.write(data)

    def close(self) -> None:
        """Release the association and stop listening."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _retrieve_request(self) -> C_GET | C_MOVE:
        if self._address.retrieve == "get":
            get = C_GET()
            get.AffectedSOPClassUID = StudyRootQueryRetrieveInformationModelGet
            return get
        move = C_MOVE()
        move.AffectedSOPClassUID = StudyRootQueryRetrieveInformationModelMove
        move.MoveDestination = self._address.calling_aet
        return move

    def _open_line(self) -> _Line:
        if self._line is not None and self._line.is_open:
            return self._line
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
                    hint="choose another --listen port that the PACS knows, or C-GET: leave out --move",
                ) from None
        self._line = self._connect(application, handlers)
        return self._line

    def _application(self) -> AE:
        application = AE(ae_title=self._address.calling_aet)
        application.acse_timeout = application.dimse_timeout = self._timeout_s
        application.network_timeout = application.connection_timeout = self._timeout_s
        application.require_called_aet = True
        application.require_calling_aet = [self._address.called_aet]
        return application

    def _connect(self, application: AE, handlers: list[EventHandlerType] | None = None) -> _Line:
        try:
            self._probe()
        except IntakeError:
            application.shutdown()
            raise
        is_get = handlers is not None and self._address.retrieve == "get"
        association = application.associate(
            self._address.host,
            self._address.port,
            ae_title=self._address.called_aet,
            ext_neg=[build_role(kind, scp_role=True) for kind in sorted(RADIOGRAPHS)] if is_get else [],
            evt_handlers=handlers if is_get else [],
            max_pdu=0,
            tls_args=None if self._tls is None else (self._tls, self._address.host),
        )
        if not association.is_established:
            application.shutdown()
            raise _unreachable("the PACS refuses the association")
        return _Line(association, self._timeout_s)

    def _probe(self) -> None:
        """Whether somebody listens, with the right certificate; pynetdicom would not say what is wrong,
        and leaves its socket open where nobody listens.
        """
        where = (self._address.host, self._address.port)
        try:
            with socket.create_connection(where, timeout=self._timeout_s) as plain:
                if self._tls is not None:
                    self._tls.wrap_socket(plain, server_hostname=self._address.host).close()
        except ssl.SSLCertVerificationError as error:
            raise _unreachable(f"the PACS's certificate is refused: {error.verify_message}") from None
        except ssl.SSLError as error:
            raise _unreachable(f"the PACS does not speak TLS as it should: {error.reason}") from None
        except (OSError, UnicodeError):  # a host name that cannot be one
            raise _unreachable("nobody listens at the PACS's address") from None

    def _keep(self, event: evt.Event) -> int:
        """Take a film that the PACS sends; only one is ever asked for at a time."""
        if str(getattr(event.request, "AffectedSOPInstanceUID", "")) != self._expected:
            return _OUT_OF_RESOURCES
        self._received = event.encoded_dataset()
        return _SUCCESS


class _Line:
    """An association, on which answers are taken as they arrive, in pynetdicom's receiving thread.

    Its ``send_c_find`` and the like read answers from a queue, of which the association's own thread
    now and then takes the first one away and drops it: the two agree by flags that are not locked
    (``Association._run_reactor``, 3.0.4). ``EVT_DIMSE_RECV`` is raised before that queue, for each
    message once and in order; the queue itself is left to that thread.
    """

    def __init__(self, association: Association, timeout_s: float) -> None:
        self._association = association
        self._timeout_s = timeout_s
        self._n_asked = 0
        self._arrived: SimpleQueue[tuple[int, int, bytes]] = SimpleQueue()
        self._heard_at = monotonic()
        association.network_timeout = None  # silence is timed here, and only while an answer is due
        for moment in (evt.EVT_PDU_SENT, evt.EVT_PDU_RECV):
            association.bind(moment, _hasten)
        association.bind(evt.EVT_PDU_RECV, self._hear)
        association.bind(evt.EVT_DIMSE_RECV, self._take)

    @property
    def is_open(self) -> bool:
        """Whether the association stands."""
        return self._association.is_established

    def close(self) -> None:
        """Release the association, and all that its application listens to."""
        if self.is_open:
            self._association.release()
        self._association.ae.shutdown()

    @_unchecked()
    def find(self, level: Level, wanted: Mapping[str, str]) -> list[Answer]:
        """All matches of a C-FIND.

        Raises:
            IntakeError: it ends otherwise than with success, or a match cannot be read.
        """
        request = C_FIND()
        request.AffectedSOPClassUID = StudyRootQueryRetrieveInformationModelFind
        keys = dict.fromkeys(KEYS[level], "") | dict(wanted)
        matches, status = self.ask(request, level, keys)
        if status != _SUCCESS:
            raise _unreachable(f"the PACS does not answer a query: status {status:04X}")
        return [self._read(match, level) for match in matches]

    def ask(
        self, request: C_FIND | C_GET | C_MOVE, level: Level, keys: Mapping[str, str]
    ) -> tuple[list[bytes], int]:
        """What came with the pending answers to a request, and the status of the final one.

        Raises:
            IntakeError: the PACS does not offer the service, is silent, or ends the association.
        """
        syntax, context_id = self._context(str(request.AffectedSOPClassUID))
        identifier = Dataset()
        for keyword, value in {"QueryRetrieveLevel": level, **keys}.items():
            setattr(identifier, keyword, value)
        encoded = encode(identifier, *syntax)
        if encoded is None:
            raise _unreachable("a query cannot be written for the PACS")
        self._n_asked += 1
        request.MessageID = number = self._n_asked % 2**16
        request.Priority = 2
        request.Identifier = BytesIO(encoded)
        self._heard_at = monotonic()
        self._association.dimse.send_msg(request, context_id)
        pending: list[bytes] = []
        while True:
            answered, status, data = self._next()
            if answered != number:
                continue
            if status not in _PENDING:
                return pending, status
            pending.append(data)

    def _context(self, model: str) -> tuple[tuple[bool, bool, bool], int]:
        """Encoding (implicit VR, little endian, deflated) and number of the context of a service."""
        for context in self._association.accepted_contexts:
            if context.abstract_syntax == model and context.context_id is not None:
                syntax = context.transfer_syntax[0]
                way = (syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
                return way, context.context_id
        raise _unreachable(f"the PACS does not offer {UID(model).name}")

    def _next(self) -> tuple[int, int, bytes]:
        while True:
            try:
                return self._arrived.get(timeout=_TICK_S)
            except Empty:
                is_silent = monotonic() - self._heard_at > self._timeout_s
            if is_silent and self.is_open:
                self._association.abort()
            if is_silent or not self.is_open:
                fact = "is silent" if is_silent else "ended the association"
                raise _unreachable(f"the PACS {fact}")

    def _hear(self, _: evt.Event) -> None:
        self._heard_at = monotonic()

    def _take(self, event: evt.Event) -> None:
        command = event.message.command_set
        if "Status" in command and "MessageIDBeingRespondedTo" in command:
            held = event.message.data_set
            data = b"" if held is None else held.getvalue()
            self._arrived.put((command.MessageIDBeingRespondedTo, command.Status, data))

    def _read(self, match: bytes, level: Level) -> Answer:
        syntax, _ = self._context(str(StudyRootQueryRetrieveInformationModelFind))
        try:
            found = decode(BytesIO(match), *syntax)
            return {keyword: str(found.get(keyword) or "").strip() for keyword in KEYS[level]}
        except Exception:  # noqa: BLE001 - a damaged answer may raise anything, with values
            raise _unreachable("the PACS sends an answer that cannot be read") from None


def _hasten(event: evt.Event) -> None:
    """Both sides write a message in small parts, and each waits 40 ms for the ACK of the part before.

    The kernel forgets ``TCP_QUICKACK`` whenever something is sent.
    """
    wire = event.assoc.dul.socket
    if wire is None or wire.socket is None:
        return
    with suppress(AttributeError, OSError):  # another system than Linux, or closed meanwhile
        for option in (socket.TCP_NODELAY, socket.TCP_QUICKACK):
            wire.socket.setsockopt(socket.IPPROTO_TCP, option, 1)


def _unreachable(fact: str) -> IntakeError:
    return IntakeError(
        "pacs-unreachable",
        fact,
        hint="check address, AE titles, --ca, and what the PACS allows this AE title (--move where it "
        "has no C-GET), then run again: what has come stays",
    )
