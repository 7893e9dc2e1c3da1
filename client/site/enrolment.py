"""The coordinator's answer to a join request, and whether its key is the one that a person was told.

An enrolment file is signed by the key in it, so that it vouches for nobody but itself: who exchanged it
on its way would be the coordinator from then on. Imports keys, canonical and errors.
"""

from __future__ import annotations

import json
from pathlib import Path

from shared.errors import PlanError
from shared.signing.canonical import canonical_json
from shared.signing.keys import verify

# Of 64 hexadecimal digits: fewer could be found again by trying keys.
_FEWEST_DIGITS = 16


def enrolled_key(enrolment: Path, *, site: str) -> str:
    """The coordinator's key in the enrolment file of a site.

    Raises:
        PlanError: damaged, not signed by the key in it, or meant for another site.
    """
    try:
        content = json.loads(enrolment.read_bytes())
        signature = str(content.pop("signature"))
        key, named = str(content["coordinator_key"]), str(content["site"])
    except (OSError, ValueError, KeyError, AttributeError) as error:
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


def require_same_key(key: str, *, told: str) -> None:
    """Refuse a coordinator whose key is not the one that a person was told.

    Args:
        key: of the enrolment file.
        told: the whole key, or its first digits; case and spaces do not matter.

    Raises:
        PlanError: too few digits, or another key.
    """
    digits = "".join(told.split()).lower()
    if len(digits) < _FEWEST_DIGITS:
        raise PlanError(
            "short-key",
            f"the coordinator's key must be told with {_FEWEST_DIGITS} digits or more, "
            f"not {len(digits)}",
            hint="`osteofed-coordinator init` shows it to the coordinator",
        )
    if not key.startswith(digits):
        raise PlanError(
            "untold-key",
            f"the enrolment names key {key[:_FEWEST_DIGITS]}, which is not the one that was told",
            hint="do not join; ask the coordinator over another channel which file is its own",
        )
