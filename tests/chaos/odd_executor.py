"""A hospital whose totals are no numbers, truly signed: its executor with the honest answers spoilt.

Takes the arguments of ``client.node.executor``. The code on its disk is the plan's, so its hash is too.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from flwr.app import Context, Message

from client.node import executor
from client.site.context import site_folder_from
from client.site.folder import open_site
from shared.contract.protocol import SumReply, any_from_record, signed_bytes, to_record

honest = executor.app


def odd(message: Message, context: Context) -> Message:
    """The honest answer; of a sum every number is none."""
    answer = honest(message, context)
    reply = any_from_record(answer.content) if answer.has_content() else None
    if isinstance(reply, SumReply):
        spoilt = replace(reply, total=np.full_like(reply.total, np.nan))
        key = open_site(site_folder_from(context)).key
        answer.content = to_record(replace(spoilt, signature=key.sign(signed_bytes(spoilt))))
    return answer


if __name__ == "__main__":
    executor.app = odd  # type: ignore[assignment]
    executor.main()
