"""``osteofed-coordinator doctor``: can hospitals reach this coordinator, and until when.

Looks and changes nothing: certificates, keys, disk, database, the server's answer, the clock. Imports
the deployment, the coordinator's folder and what a line is.
"""

from __future__ import annotations

import ctypes
import sqlite3
import ssl
import sys
from contextlib import closing
from datetime import datetime
from pathlib import Path

from server.engines.superlink import Deployment
from server.federation.certificates import certificate_ends
from server.federation.folder import Home
from shared.machine.line import (
    Line,
    attention,
    expiry_line,
    look_at_disk,
    not_checked,
    observe,
    ok,
    problem,
    write_bytes,
)
from shared.signing.keys import require_closed, spoken

_LEAST_DISK, _COMFORTABLE_DISK = 2 * 2**30, 20 * 2**30
_TIMEX_BYTES, _TIME_ERROR = 512, 5  # of linux/timex.h: more than the struct, and "not synchronised"
_SERVE = "start `osteofed-coordinator serve`"
_CERTIFICATES = (
    (
        "authority",
        "ca.pem",
        "make a new authority and send it to every site: all of them have to trust it before the end",
    ),
    (
        "server certificate",
        "server.pem",
        "`osteofed-coordinator renew-certificate`, and restart a door before the server",
    ),
)


def examine(home: Home, *, now: datetime) -> list[Line]:
    """What there is to say about a coordinator."""
    lines = observe("coordinator", lambda: _coordinator(home))
    lines += observe("keys", lambda: _keys(home))
    lines += certificate_lines(home, now=now)
    lines += observe("disk", lambda: _disk(home.folder))
    lines += observe("database", lambda: _database(Deployment(home.folder)))
    lines += observe("server", lambda: _server(Deployment(home.folder)))
    return lines + observe("clock", _clock)


def certificate_lines(home: Home, *, now: datetime) -> list[Line]:
    """Until when the authority and the server's certificate hold, where there are any."""
    folder, lines = Deployment(home.folder).authority.parent, list[Line]()
    for name, file, remedy in _CERTIFICATES:
        path = folder / file
        if path.exists():
            lines += observe(name, lambda n=name, p=path, r=remedy: _ends(n, p, r, now))  # type: ignore[misc]
        else:
            lines.append(not_checked(name, f"{file} is made by the first `serve`", _SERVE))
    return lines


def _ends(name: str, path: Path, remedy: str, now: datetime) -> Line:
    return expiry_line(name, certificate_ends(path).timestamp(), now.timestamp(), remedy)


def _coordinator(home: Home) -> Line:
    return ok("coordinator", f"{len(home.active_sites())} sites, key {spoken(home.key().public_hex)}")


def _keys(home: Home) -> Line:
    folder = Deployment(home.folder).authority.parent
    files = (home.key_file, folder / "ca.key", folder / "server.key")
    found = [path for path in files if path.exists()]
    for path in found:
        require_closed(path)
    return ok("keys", f"{', '.join(path.name for path in found)} are closed to others")


def _disk(folder: Path) -> Line:
    return look_at_disk(
        folder,
        "the coordinator's",
        least=_LEAST_DISK,
        comfortable=_COMFORTABLE_DISK,
        full="make room: a round that cannot be written ends the run",
        tight="make room: replies of runs with large models are kept whole",
    )


def _database(deployment: Deployment) -> Line:
    path = deployment.work / "superlink.sqlite"
    if not path.exists():
        return not_checked("database", "it is made by the first `serve`", _SERVE)
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5.0)) as database:
        [found] = database.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        remedy = "stop `serve`, move superlink.sqlite and registered.json away, serve again, `resume`"
        return problem("database", f"superlink.sqlite is damaged: {found}", remedy)
    return ok("database", f"superlink.sqlite is whole, {write_bytes(path.stat().st_size)}")


def _server(deployment: Deployment) -> Line:
    """Whether the server answers under the authority, with the certificate that is on disk."""
    port = deployment.port()
    if port is None:
        return problem("server", "none was ever started for this coordinator", _SERVE)
    try:
        pem = ssl.get_server_certificate(
            ("127.0.0.1", port), ca_certs=str(deployment.authority), timeout=5.0
        )
    except ssl.SSLCertVerificationError as error:
        fact = f"port {port} shows a certificate that is not trusted: {error.verify_message}"
        return problem("server", fact, "stop `serve` and start it again, which renews its certificate")
    except OSError as error:
        return problem("server", f"port {port} does not answer ({type(error).__name__})", _SERVE)
    if pem.strip() != (deployment.authority.parent / "server.pem").read_text().strip():
        fact = f"port {port} answers, with another certificate than the one on disk"
        return attention("server", fact, "stop `serve` and start it again, to show the renewed one")
    return ok("server", f"port {port} answers under the federation's authority")


def _clock() -> Line:
    """Whether the system says that its clock is kept; sites compare theirs with it."""
    remedy = "keep it by NTP (chrony, systemd-timesyncd): sites are turned away by its time"
    if not sys.platform.startswith("linux"):
        return not_checked("clock", "this system does not tell whether it is kept", remedy)
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    if state < 0 or state == _TIME_ERROR:
        return attention("clock", "nothing says that it is kept by a time server", remedy)
    return ok("clock", "kept by a time server")
