"""The standard gRPC health service (grpc.health.v1) of a process of ours.

An answer is found when it is asked for: SERVING where the process's own web routes answer, else
NOT_SERVING. Of other services than the process itself it says NOT_FOUND, as the protocol has it; it
offers no Watch. Plain, so it belongs on loopback. Imports grpc only.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md.
"""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import EngineError

if TYPE_CHECKING:
    import grpc
    from grpc_health.v1 import health_pb2

SERVICE = "grpc.health.v1.Health"
_THREADS, _MOST_AT_ONCE = 2, 8
_ROUTE_S, _GRACE_S = 3.0, 1.0


@contextmanager
def serving_health(address: str, is_well: Callable[[], bool]) -> Iterator[None]:
    """Answer health checks inside the block; nowhere where no address is named.

    Args:
        address: ``host:port`` to listen on; empty: nowhere.
        is_well: whether the process serves; what it raises counts as no.

    Raises:
        EngineError: nobody can listen there.
    """
    if not address:
        yield
        return
    server = _start(address, is_well)
    try:
        yield
    finally:
        server.stop(_GRACE_S).wait()


def answers(url: str, *, authority: Path | None = None, body: bytes | None = None) -> int:
    """The status with which a web route answers, asked without any proxy; 0: it does not answer.

    Args:
        url: of the route.
        authority: whose certificate it must show, a PEM file; None for plain HTTP.
        body: is posted; None: the route is read.
    """
    context = ssl.create_default_context(cafile=str(authority)) if authority else None
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(url, data=body, timeout=_ROUTE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code
    except (OSError, ValueError):
        return 0


def is_refusal(status: int) -> bool:
    """Whether a status is of a route that is there and refuses a stranger."""
    return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and (
        status != HTTPStatus.NOT_FOUND
    )


def _start(address: str, is_well: Callable[[], bool]) -> grpc.Server:
    import grpc
    from grpc_health.v1 import health_pb2

    def check(
        request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        if request.service:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        kinds = health_pb2.HealthCheckResponse
        return kinds(status=kinds.SERVING if _holds(is_well) else kinds.NOT_SERVING)

    handler = grpc.unary_unary_rpc_method_handler(
        check,
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    server = grpc.server(
        ThreadPoolExecutor(_THREADS),
        maximum_concurrent_rpcs=_MOST_AT_ONCE,
        options=[("grpc.so_reuseport", 0)],  # a second process on one address is refused
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Check": handler}),)
    )
    try:
        is_bound = server.add_insecure_port(address) > 0
    except RuntimeError:
        is_bound = False
    if not is_bound:
        raise EngineError(
            "health-not-listening",
            f"nobody can listen on {address} for health checks; another process may do so",
            hint="name another host:port of this machine with --health, or '' for none",
        )
    server.start()
    return server


def _holds(is_well: Callable[[], bool]) -> bool:
    try:
        return is_well()
    except Exception:  # noqa: BLE001 - a health check answers, it never fails
        return False
