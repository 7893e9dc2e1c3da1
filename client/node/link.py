"""Flower's SuperNode, with a health service of ours: SERVING where the SuperNode's own routes answer.

``python -m client.node.link`` takes the arguments of ``flower-supernode``. ``--health-server-address``
is taken out and served here: Flower's own says SERVING whatever happens, and goes with Flower 1.43.
Imports Flower and the health service.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from http import HTTPStatus

from flwr.supernode.cli.flower_supernode import flower_supernode

from shared.machine.health import answers, serving_health


def main() -> None:
    """Run Flower's SuperNode beside the health service."""
    health, passed_on = _take("--health-server-address", sys.argv[1:])
    port, _ = _take("--port", passed_on)
    sys.argv[1:] = passed_on
    url = f"http://127.0.0.1:{port}/health"
    with serving_health(health, lambda: answers(url) == HTTPStatus.OK):
        flower_supernode()


def _take(name: str, arguments: list[str]) -> tuple[str, list[str]]:
    """The value of an option, empty where it is not there, and the other arguments."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(name, dest="value", default="")
    found, others = parser.parse_known_args(arguments)
    return str(found.value), others


if __name__ == "__main__":
    main()
