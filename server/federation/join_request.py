"""What a site asks to be enrolled with: a file that its own key has signed.

It vouches for nobody but itself: whose key it names, a person compares. Imports keys and canonical.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from shared.errors import PlanError
from shared.signing.canonical import canonical_json
from shared.signing.keys import verify
from shared.signing.node_notice import NODE_KEY
from shared.strict import FROZEN


class JoinRequest(BaseModel):
    """What a site tells the coordinator once: name, signing key, Flower node key, declared size.

    Attributes:
        version: of this file's format.
        site: the site's name.
        public_key: under which the site signs.
        node_key: by which its SuperNode is known to the SuperLink.
        declared_patients: training patients, as published.
        signature: of the site.
    """

    model_config = FROZEN

    version: Literal[1] = 1
    site: str = Field(pattern="^[a-z][a-z0-9-]{1,40}$")
    public_key: str = Field(pattern="^[0-9a-f]{64}$")
    node_key: str = Field(pattern=NODE_KEY)
    declared_patients: int = Field(ge=1)
    signature: str = ""

    def signed_bytes(self) -> bytes:
        """The bytes under the site's signature."""
        return canonical_json(self.model_dump(exclude={"signature"}))


def read_join_request(path: Path) -> JoinRequest:
    """The request in a file; whose key it names, only a comparison with the site tells.

    Raises:
        PlanError: it is damaged, or not signed by the key in it.
    """
    try:
        request = JoinRequest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise PlanError(
            "unreadable-join-request",
            f"{path.name} is not a join request: {type(error).__name__}",
            hint="ask the site for the join-request.json that `osteofed-site init` wrote",
        ) from None
    if not verify(request.public_key, request.signed_bytes(), request.signature):
        raise PlanError(
            "forged-join-request",
            f"{path.name} is not signed by the key in it",
            hint="ask the site over another channel",
        )
    return request
