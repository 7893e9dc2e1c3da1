"""A PACS of the tests' own that answers what it is told to: over DIMSE, and over DICOMweb."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

from client.intake.sources.dimse import DimseAddress

TAGS = {
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "SOPInstanceUID": "00080018",
    "Modality": "00080060",
    "PatientID": "00100020",
}
Answer = dict[str, str]


@dataclass
class OddPacs:
    """What it has, as study → series → images, and how it behaves.

    Args:
        holdings: UIDs; every series is DX, of patient P.
        status: how each C-FIND and each C-GET ends.
        is_aborting: the association ends in the middle of a C-FIND instead.
        page: most answers of one DICOMweb query; 0 for a server without paging.
        cuts_first: it cuts to the limit before it skips the offset, as Orthanc's plugin does.
        says_more: it says of each page that there are more.
    """

    holdings: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    status: int = 0x0000
    is_aborting: bool = False
    page: int = 200
    cuts_first: bool = False
    says_more: bool = False
    on_silence: threading.Event | None = None

    def level(self, study: str | None, series: str | None) -> list[Answer]:
        """The answers to a query below a study and a series."""
        if study is None:
            return [{"StudyInstanceUID": uid, "PatientID": "P"} for uid in self.holdings]
        if series is None:
            return [{"SeriesInstanceUID": uid, "Modality": "DX"} for uid in self.holdings[study]]
        return [{"SOPInstanceUID": uid} for uid in self.holdings[study][series]]

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        if self.on_silence is not None:
            self.on_silence.wait()
        for number, answer in enumerate(
            self.level(asked.get("StudyInstanceUID") or None, asked.get("SeriesInstanceUID") or None)
        ):
            if self.is_aborting and number:
                event.assoc.abort()
                return
            match = Dataset()
            for keyword, value in answer.items():
                setattr(match, keyword, value)
            yield 0xFF00, match
        yield self.status, None

    def _get(self, _: evt.Event) -> Iterator[object]:
        yield 1
        yield self.status, None

    @contextmanager
    def dimse(self) -> Iterator[DimseAddress]:
        """Listens for C-FIND and C-GET; where."""
        application = AE(ae_title="ODD")
        application.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        application.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
        handlers = [(evt.EVT_C_FIND, self._find), (evt.EVT_C_GET, self._get)]
        server = application.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        try:
            yield DimseAddress(
                host="127.0.0.1", port=server.server_address[1], called_aet="ODD", calling_aet="SITE"
            )
        finally:
            application.shutdown()

    @contextmanager
    def web(self) -> Iterator[str]:
        """Listens for QIDO-RS; its address."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._qido, says_more=self.says_more))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def _qido(self, address: str) -> bytes:
        parts = urlsplit(address)
        names = parts.path.strip("/").split("/")
        answers = self.level(*[names[at] if len(names) > at else None for at in (1, 3)])
        offset, limit = (int(parse_qs(parts.query)[name][0]) for name in ("offset", "limit"))
        if self.cuts_first:
            answers = answers[:limit][offset:]
        elif self.page:
            answers = answers[offset : offset + min(self.page, limit)]
        entries = [{TAGS[key]: {"Value": [value]} for key, value in one.items()} for one in answers]
        return json.dumps(entries).encode()


def _handler(answer: Callable[[str], bytes], *, says_more: bool) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answer(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            if says_more:
                self.send_header("Warning", '299 pacs: "There are additional results"')
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
