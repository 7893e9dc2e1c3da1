"""The coordinator's answer to a join request.

An enrolment file is signed by the key in it, so that it vouches for nobody but itself: who exchanged it
on its way would be the coordinator from then on. Imports keys, canonical and errors.
"""

from __future__ import annotations

import json
from pathlib import Path

from shared.errors import PlanError
from shared.signing.canonical import canonical_json
from shared.signing.keys import verify


def enrolled_key(enrolment: Path, *, site: str) -> str:
    """The coordinator's key in the enrolment file of a site.

    Raises:
        PlanError: damaged, not signed by the key in it, or meant for another site.
    """
    try:
        content = json.loads(enrolment.read_bytes())
        signature = str(content.pop("signature"))
        key, named = str(content["coordinator_key"]), str(content["site"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise PlanError(
            "unreadable-enrolment",
            f"{enrolment.name} is not an enrolment: {type(error).__name__}",
            hint="ask the coordinator for the file that `osteofed-coordinator enrol` wrote",
        ) from None
    if named != site or not verify(key, canonical_json(content), signature):
        raise PlanError(
            "forged-enrolment",
            f"{enrolment.name} is for site {named}, or is not signed by the key in it",
            hint="compare the coordinator's key over another channel, then fetch the file again",
        )
    return key
