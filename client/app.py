"""The ClientApp, one for every engine: opens the site folder, answers through the gate, never raises.

An exception that left this module would carry its text to the coordinator; so every one becomes a
code. What leaves is held until the plan's quantum lets it. Imports Flower and the handlers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from client.answers.held import hold, quantum_of
from client.answers.hello import answer_hello, store_chunk
from client.gate.gate import Gate, Released, open_gate, refuse_closed
from client.site.context import site_folder_from
from client.site.folder import Site, open_site
from shared.contract.protocol import (
    Hello,
    SumRequest,
    WeightsChunk,
    from_record,
    to_record,
)
from shared.errors import ProtocolError

# What a coordinator may say to a run by Flower's run settings; nothing in a client reads them.
RUN_SETTINGS = frozenset({"run-folder", "stage"})

Request = TypeVar("Request", Hello, WeightsChunk, SumRequest)

app = ClientApp()


@app.query("hello")
def hello(message: Message, context: Context) -> Message:
    """Who is this site, and does it agree to the plan?"""
    return _answer(message, context, Hello, answer_hello)


@app.query("weights")
def weights(message: Message, context: Context) -> Message:
    """Keep a piece of the encoder."""
    return _answer(message, context, WeightsChunk, store_chunk)


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round of one stage: a sum over this site's patients, whatever it is of."""
    from client.answers.answer import answer_sum

    return _answer(message, context, SumRequest, answer_sum)


def _answer(
    message: Message,
    context: Context,
    kind: type[Request],
    answer: Callable[[Site, Gate, Request], Released],
) -> Message:
    folder: Path | None = None
    plan_sha256, began_s, quantum_s = "", time.monotonic(), 0.0
    try:
        folder = site_folder_from(context)
        _require_known_settings(context)
        request = from_record(message.content, kind)
        plan_sha256 = request.plan_sha256
        site = open_site(folder)
        if kind is SumRequest:  # nothing else looks at patients
            quantum_s = quantum_of(site, plan_sha256)
        gate = open_gate(folder, site=site.name, key=site.key, clock=site.clock)
        released = _answer_or_refuse(site, gate, request, answer)
    except Exception as error:  # noqa: BLE001 - nothing but a code may leave
        released = refuse_closed(folder, error, plan_sha256=plan_sha256)
    hold(began_s, quantum_s)
    return Message(to_record(released.message), reply_to=message)


def _require_known_settings(context: Context) -> None:
    """Refuse a run that tries to set what only a plan or the hospital's policy may set.

    Raises:
        ProtocolError: a run setting is not one of this project's.
    """
    if not set(context.run_config) <= RUN_SETTINGS:
        raise ProtocolError(
            "unknown-run-setting",
            "the run carries a setting that this client does not know",
            hint="settings belong into the plan, which every site approves",
        )


def _answer_or_refuse(
    site: Site, gate: Gate, request: Request, answer: Callable[[Site, Gate, Request], Released]
) -> Released:
    try:
        return answer(site, gate, request)
    except Exception as error:  # noqa: BLE001 - nothing but a code may leave
        return gate.refuse(error, plan_sha256=request.plan_sha256)
