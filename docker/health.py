"""Is this container's service well? Ends with 0 or 1 and says why.

``health.py grpc HOST:PORT`` asks the standard gRPC health service, ``health.py https URL CA`` a web
address, ``health.py beat FILE SECONDS`` whether the executor's loop has turned lately.
"""

from __future__ import annotations

import ssl
import sys
import time
import urllib.request
from pathlib import Path

TIMEOUT_S = 5.0


def grpc_serves(address: str) -> bool:
    """The gRPC health service at ``host:port`` answers SERVING."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def https_answers(url: str, authority: str) -> bool:
    """The address answers 200 under the federation's certificate authority."""
    context = ssl.create_default_context(cafile=authority)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    with opener.open(url, timeout=TIMEOUT_S) as answer:
        return bool(answer.status == 200)


def beats(file: str, seconds: str) -> bool:
    """The file was touched in the last seconds."""
    return time.time() - Path(file).stat().st_mtime < float(seconds)


CHECKS = {"grpc": grpc_serves, "https": https_answers, "beat": beats}

if __name__ == "__main__":
    try:
        is_well = CHECKS[sys.argv[1]](*sys.argv[2:])
    except Exception as error:  # noqa: BLE001 - a check answers, it never fails
        sys.stderr.write(f"not well: {type(error).__name__}\n")
        sys.exit(1)
    sys.stderr.write("well\n" if is_well else "not well\n")
    sys.exit(0 if is_well else 1)
