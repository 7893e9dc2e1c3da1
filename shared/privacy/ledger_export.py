"""A ledger as a site hands it over: rows, countersignatures and its own account of the dearest patient.

Member lists are not in it. Rows are checked against the site's enrolled key; the account is the site's
own statement and is marked as such wherever it is shown. Imports the ledger's format and errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import LedgerError
from shared.machine.files import write_atomic
from shared.privacy.ledger_format import Countersignature, LedgerRow, verify_chain

_STRICT = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, ser_json_inf_nan="strings")


class Account(BaseModel):
    """What the dearest patient has spent and has left at one δ, as the site computed it.

    Attributes:
        epsilon_spent: over all runs.
        epsilon_left: until the cap.
        epsilon_cap: for life.
        delta: δ of these.
        n_unprotected: charges without noise.
    """

    model_config = _STRICT

    epsilon_spent: float
    epsilon_left: float
    epsilon_cap: float
    delta: float
    n_unprotected: int


class LedgerExport(BaseModel):
    """The file that a site hands to an auditor.

    Attributes:
        version: of this format.
        site: whose ledger it is.
        public_key: under which its newest rows are signed.
        account: of the dearest patient.
        lines: the ledger's own, in order.
        countersignatures: of heads that a coordinator has signed.
    """

    model_config = _STRICT

    version: Literal[1] = 1
    site: str
    public_key: str
    account: Account
    lines: tuple[dict[str, object], ...]
    countersignatures: tuple[Countersignature, ...]

    def rows(self, *, trusted_key: str) -> list[LedgerRow]:
        """The rows, after checking each hash, signature, link and countersignature.

        Raises:
            LedgerError: damaged, or not signed by the site that the caller trusts.
        """
        return verify_chain(
            (json.dumps(line).encode() for line in self.lines),
            trusted_key=trusted_key,
            countersignatures=self.countersignatures,
        )


def encode_export(export: LedgerExport) -> bytes:
    """The file's bytes."""
    return export.model_dump_json(indent=1).encode()


def write_export(path: Path, export: LedgerExport) -> None:
    """Write an export."""
    write_atomic(path, encode_export(export))


def read_exports(paths: list[Path], *, trusted_keys: Mapping[str, str]) -> dict[str, LedgerExport]:
    """Verified exports by site.

    Args:
        paths: files that sites wrote with `osteofed-site ledger export`.
        trusted_keys: public key of each site, known from enrolment.

    Raises:
        LedgerError: unreadable, of a site that is not known, twice of one site, or damaged.
    """
    exports: dict[str, LedgerExport] = {}
    for path in paths:
        try:
            export = LedgerExport.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise LedgerError(
                "unreadable-export",
                f"{path.name} is not a ledger export: {type(error).__name__}",
                hint="ask the site for the file that `osteofed-site ledger export` wrote",
            ) from None
        if export.site not in trusted_keys or export.site in exports:
            raise LedgerError(
                "unexpected-export",
                f"exports must be of {sorted(trusted_keys)}, one each, not {export.site}",
                hint="leave out the files of other sites",
            )
        export.rows(trusted_key=trusted_keys[export.site])
        exports[export.site] = export
    return exports
