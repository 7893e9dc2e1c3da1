"""A plan that this site may act on: approved, allowed by the policy, of this code, with a sound model.

Whether a policy and a code allow a plan does not change from message to message. It is found out once
and kept beside the approval, signed by the site, under one hash of plan, policy, code and what the site
says of itself: when one of them changes it is found out anew. The decision itself is read every time,
since it can be taken back. Imports approval, policy, the model's probe and the site's folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from client.site.folder import Site
from client.site.policy import require_plan
from shared.contract.plan import Plan, RosterEntry
from shared.errors import PlanError
from shared.machine.files import write_atomic
from shared.signing.canonical import canonical_json, hash_of
from shared.signing.code_hash import installed_code_hash
from shared.signing.keys import verify

POLICY, MODEL = "policy", "model"


@dataclass(frozen=True)
class Approved:
    """An approved plan at this site."""

    site: Site
    plan: Plan

    @property
    def entry(self) -> RosterEntry:
        """What the roster says of this site."""
        return self.plan.entry(self.site.name)

    @property
    def encoder_file(self) -> Path | None:
        """This site's copy of the plan's encoder; None where the plan names no file."""
        digest = self.plan.encoder_sha256
        return self.site.encoder_file(digest) if digest else None

    @property
    def governed_by(self) -> str:
        """Who answers for exact numbers here; empty where nobody does."""
        return self.site.policy.governed_approved_by or ""

    def require_sound_model(self) -> None:
        """Refuse a model that cannot be trained with one gradient per patient; tried once a plan.

        Raises:
            PrivacyError: something in the model couples patients, or a weight does not learn.
            WeightsError: the encoder is not cached here.
        """
        if self.plan.training is None or MODEL in self._settled:
            return
        from shared.train.public_batch import validate_settings_model

        validate_settings_model(self.plan.settings, encoder_file=self.encoder_file)
        self.settle(MODEL)

    def require_allowed(self) -> None:
        """Refuse what the roster, the code or the policy does not allow; found out once a plan.

        Raises:
            PlanError: the roster does not fit this site, or the plan was written for other code.
            PolicyError: the hospital's policy forbids it.
        """
        if POLICY in self._settled:
            return
        if self.plan.code_sha256 != installed_code_hash():
            raise PlanError(
                "other-code",
                f"the plan was written for code {self.plan.code_sha256[:12]}, "
                f"this site runs {installed_code_hash()[:12]}",
                hint="install the same release at coordinator and sites, then write a new plan",
            )
        self.site.require_entry(self.plan)
        self._require_true_role()
        require_plan(self.site.policy, self.plan, site=self.site.name, now=self.site.clock())
        self.settle(POLICY)

    def _require_true_role(self) -> None:
        """Refuse to be measured as a stranger to a release that was trained here."""
        measured = self.plan.release
        if measured is None or self.entry.role == "training" or not self.site.has_joined:
            return
        approvals = self.site.approvals
        if approvals.decision(measured.plan_sha256) != "approved":
            return
        if approvals.approved(measured.plan_sha256).entry(self.site.name).role == "training":
            raise PlanError(
                "measures-its-training",
                f"this site trained the release of run {measured.run}, the plan calls it external",
                hint="ask the coordinator for a plan in which it is asked for later patients only",
            )

    def settle(self, fact: str) -> None:
        """Keep that a fact holds under the plan, policy, code and site settings of now."""
        content = {"under": self._under, "facts": sorted({*self._settled, fact})}
        record = content | {"signature": self.site.key.sign(canonical_json(content))}
        write_atomic(self._file, json.dumps(record).encode(), mode=0o600)
        del self.__dict__["_settled"]

    @cached_property
    def _settled(self) -> frozenset[str]:
        """Facts that were settled under what holds now; none when the record is gone or not ours."""
        try:
            record = json.loads(self._file.read_bytes())
            signature = str(record.pop("signature"))
            is_ours = verify(self.site.key.public_hex, canonical_json(record), signature)
            return (
                frozenset(record["facts"])
                if is_ours and record["under"] == self._under
                else frozenset()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return frozenset()

    @cached_property
    def _under(self) -> str:
        return hash_of(
            {
                "plan_sha256": self.plan.sha256,
                "policy": self.site.policy.model_dump(mode="json"),
                "code_sha256": installed_code_hash(),
                "site": self.site.settings.model_dump(mode="json"),
                "key": self.site.key.public_hex,
            }
        )

    @property
    def _file(self) -> Path:
        return self.site.folder / "approvals" / "settled" / f"{self.plan.sha256}.json"


def approved_plan(site: Site, plan_sha256: str) -> Approved:
    """The plan of a message, if this site approved it, its policy allows it and its code is ours.

    Raises:
        PlanError: not approved, past its last day, its roster does not fit this site, or it was written
            for other code.
        PolicyError: the hospital's policy forbids it.
    """
    approved = Approved(site, site.approvals.approved(plan_sha256))
    approved.plan.require_valid(site.clock())
    approved.require_allowed()
    return approved
