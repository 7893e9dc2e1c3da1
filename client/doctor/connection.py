"""What ``doctor`` says of the way to the coordinator: proxy, TLS, certificates, clock, gRPC health.

Flower signs each request with the node's time and its server turns away what is too far off, so the
clock is compared with the server's own ``Date``. Sends one GET for ``/health`` and nothing of the site.
"""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from shared.errors import EngineError
from shared.machine.line import Line, attention, expiry_line, not_checked, observe, ok, problem

# flwr 1.42, common/constant.py: SYSTEM_TIME_TOLERANCE, and with TIMESTAMP_TOLERANCE added.
MOST_AHEAD_S, MOST_BEHIND_S = 5.0, 305.0
_NOTED_OFFSET_S = 2.0  # the server's Date has whole seconds
_TIMEOUT_S = 5.0
# OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED, _HOSTNAME_MISMATCH and _IP_ADDRESS_MISMATCH
_EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 10, 62, 64
_CERTIFICATES = ("root certificate", "server certificate")
_GIVE = "name it with --superlink and --root-certificate, as for `osteofed-site start`"

Now = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Coordinator:
    """Where the coordinator's server is: ``host:port`` each, and the authority's PEM file."""

    superlink: str
    root_certificate: Path | None = None
    health: str = ""


@dataclass(frozen=True)
class _Answer:
    """Of the server: status, its time and the end of its certificate in s since 1970, our time."""

    status: int
    server_s: float | None
    expires_s: float
    local_s: float


def look_at_connection(coordinator: Coordinator, *, now: Now = time.time) -> list[Line]:
    """Lines about the way to the coordinator."""
    lines = observe("proxy", lambda: _proxy_line(coordinator))
    if coordinator.root_certificate is None:
        lines.append(not_checked("root certificate", "no PEM file was named", _GIVE))
    else:
        authority = coordinator.root_certificate
        lines += observe("root certificate", lambda: _authority_line(authority, now()))
    unready = _unready(coordinator)
    lines += [unready] if unready else observe("coordinator", lambda: _server_lines(coordinator, now))
    if coordinator.health:
        lines += observe("gRPC health", lambda: _health_line(coordinator.health))
    else:
        lines.append(not_checked("gRPC health", "no address was named", "name it with --health"))
    return lines


def ending_certificates(coordinator: Coordinator, *, now: Now = time.time) -> list[str]:
    """In words, what a connected site is warned of: certificates within 60 days of their end.

    What keeps them from being looked at is left to Flower.
    """
    return [
        f"{line.name}: {line.fact}; {line.remedy}"
        for line in look_at_connection(coordinator, now=now)
        if line.name in _CERTIFICATES and line.state in ("attention", "problem")
    ]


def _proxy_of(host: str) -> str | None:
    """``host:port`` of the proxy that environment variables name for TLS to a host."""
    named = urllib.request.getproxies().get("https")
    if not named or urllib.request.proxy_bypass(host):
        return None
    parts = urlsplit(named if "//" in named else f"//{named}")
    return f"{parts.hostname}:{parts.port or 80}"  # without the user and password in it


def _unready(coordinator: Coordinator) -> Line | None:
    """Why the coordinator's server cannot even be asked; None: it can."""
    address, authority = coordinator.superlink, coordinator.root_certificate
    if not address:
        return not_checked("coordinator", "no address was named", _GIVE)
    try:
        split_address(address)
    except ValueError:
        fact = f"its address must be host:port, with a port from 1 to 65535, not {address}"
        return problem("coordinator", fact, "correct --superlink, as for `osteofed-site start`")
    if authority is not None and not authority.is_file():
        return not_checked("coordinator", f"{authority.name}, to know it by, is no file", _GIVE)
    return None


def _proxy_line(coordinator: Coordinator) -> Line:
    proxy = _proxy_of(coordinator.superlink.rpartition(":")[0].strip("[]"))
    if proxy is None:
        return ok("proxy", "none is used for the coordinator")
    return attention(
        "proxy",
        f"the coordinator is reached through {proxy}",
        "it must pass TLS untouched; where it should not be used, put the coordinator into NO_PROXY",
    )


def _authority_line(path: Path, now_s: float) -> Line:
    if not path.is_file():
        return problem("root certificate", f"{path.name} is no file", "fetch the federation's ca.pem")
    try:
        found = _context(path).get_ca_certs()
    except ssl.SSLError:
        found = []
    if not found:
        return problem(
            "root certificate", f"{path.name} holds no authority", "fetch the federation's ca.pem again"
        )
    ends = min(ssl.cert_time_to_seconds(str(entry["notAfter"])) for entry in found)
    remedy = "ask the coordinator for the new authority and compare it over another channel"
    return expiry_line("root certificate", ends, now_s, remedy)


def _server_lines(coordinator: Coordinator, now: Now) -> list[Line]:
    try:
        answer = _ask(coordinator, now)
    except ssl.SSLCertVerificationError as error:
        return [_distrust(coordinator, error)]
    except (OSError, http.client.HTTPException) as error:
        kind = "TLS failed" if isinstance(error, ssl.SSLError) else "no answer"
        return [
            problem(
                "coordinator",
                f"{coordinator.superlink}: {kind} ({type(error).__name__})",
                "check address, firewall and proxy; the port must speak TLS and be open to the outside",
            )
        ]
    lines = [_status_line(coordinator, answer)]
    renew = "the coordinator must renew it: `osteofed-coordinator serve` does at its start"
    lines.append(expiry_line("server certificate", answer.expires_s, answer.local_s, renew))
    if answer.server_s is None:
        lines.append(not_checked("clock", "the server tells no time", "compare with an NTP server"))
    else:
        lines.append(clock_line(answer.local_s - answer.server_s))
    return lines


def _status_line(coordinator: Coordinator, answer: _Answer) -> Line:
    if answer.status != 200:
        return problem(
            "coordinator",
            f"{coordinator.superlink} answers /health with {answer.status}",
            "tell the coordinator: its server or the proxy before it is not ready",
        )
    return ok("coordinator", f"{coordinator.superlink} answers, TLS is that of the federation")


def require_valid_certificate(coordinator: Coordinator) -> None:
    """Refuse to connect to a server whose certificate, or its authority's, has ended.

    A server that does not answer, or whose certificate is wrong otherwise, is left to Flower.

    Raises:
        EngineError: the certificate has ended.
    """
    try:
        _ask(coordinator, time.time)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _EXPIRED:
            raise EngineError(
                "certificate-expired",
                f"the certificate of {coordinator.superlink}, or the authority's, has ended",
                hint="look at this machine's date; else the coordinator renews it, and `osteofed-site "
                "doctor` says until when it and the authority hold",
            ) from None
    except (OSError, ValueError, http.client.HTTPException):
        return


def _distrust(coordinator: Coordinator, error: ssl.SSLCertVerificationError) -> Line:
    other_name = "use the name that the certificate is for, or have this one added to it"
    remedies = {
        _EXPIRED: "check this machine's date; else the coordinator must renew its certificate",
        _OTHER_NAME: other_name,
        _OTHER_ADDRESS: other_name,
    }
    fact = f"{coordinator.superlink} shows a certificate that is not trusted: {error.verify_message}"
    remedy = "do not go on: compare ca.pem over another channel; a proxy may be opening the connection"
    return problem("coordinator", fact, remedies.get(error.verify_code, remedy))


def clock_line(ahead_s: float) -> Line:
    """What a clock that is ``ahead_s`` seconds ahead of the coordinator means for Flower."""
    fact = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the coordinator"
    remedy = "set the clock by NTP (chrony, systemd-timesyncd): Flower turns away requests of this node"
    if not -MOST_BEHIND_S < ahead_s < MOST_AHEAD_S:
        return problem("clock", fact, remedy)
    if not -_NOTED_OFFSET_S * 30 < ahead_s < _NOTED_OFFSET_S + 1:
        return attention("clock", fact, "set the clock by NTP before it drifts further")
    return ok("clock", fact if abs(ahead_s) >= _NOTED_OFFSET_S else "agrees with the coordinator")


def _ask(coordinator: Coordinator, now: Now) -> _Answer:
    host, port = split_address(coordinator.superlink)
    proxy = _proxy_of(host)
    near_host, near_port = split_address(proxy) if proxy else (host, port)
    connection = http.client.HTTPSConnection(
        near_host, near_port, timeout=_TIMEOUT_S, context=_context(coordinator.root_certificate)
    )
    if proxy:
        connection.set_tunnel(host, port)
    try:
        connection.connect()
        socket = connection.sock
        certificate = socket.getpeercert() if isinstance(socket, ssl.SSLSocket) else None
        connection.request("GET", "/health")
        response = connection.getresponse()
        local_s = now()
        date = response.getheader("Date")
    finally:
        connection.close()
    ends = ssl.cert_time_to_seconds(str((certificate or {}).get("notAfter")))
    server_s = parsedate_to_datetime(date).timestamp() if date else None
    return _Answer(response.status, server_s, ends, local_s)


def _context(authority: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority) if authority else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _health_line(address: str) -> Line:
    """The standard health service (grpc.health.v1), which `start` and the link's container serve."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            fact = f"{address} does not answer ({error.code().name})"
            return problem("gRPC health", fact, "start `osteofed-site start`, or look into its logs")
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        return problem(
            "gRPC health", f"{address} is not serving", "look into the logs of the SuperNode"
        )
    return ok("gRPC health", f"{address} is serving")


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``host:port``.

    Raises:
        ValueError: it is something else.
    """
    parts = urlsplit(f"//{address}")
    if not parts.hostname or not parts.port or parts.netloc != address:
        raise ValueError("no host:port")
    return parts.hostname, parts.port
