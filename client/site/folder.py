"""A site's folder: who the hospital is, its keys, and where everything of it lies.

::

    <site>/site.yaml      name, declared size, how its table and scanner are to be read
    <site>/policy.yaml    what the hospital allows; nothing from outside can override it
    <site>/keys/          signing key, pseudonym key (owner only)
    <site>/linkage/       identities behind pseudonyms, sealed; never leaves
    <site>/cohorts/       <name>/v<k>/, frozen
    <site>/ledger/        every touch of its patients, for ever; ledger-witness.json vouches for it
    <site>/rotations/     notices of replaced keys, for the coordinator
    <site>/plans/ approvals/   plans read and decisions taken
    <site>/outbox/ replies/    what left; stored replies for repeated requests
    <site>/cache/         encoder weights by hash, tokens by cohort
    <site>/log/           texts of errors; never leaves

Imports policy, ledger, gate, approvals and the exam package.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, Field, ValidationError

from client.site.approval import Approvals
from client.site.enrolment import enrolled_key
from client.site.linkage import (
    Linkage,
    Pseudonyms,
    create_pseudonym_key,
    load_pseudonym_key,
)
from client.site.policy import PolicySettings, read_policy, write_policy_template
from client.site.profile import SiteProfile
from shared.contract.plan import Plan
from shared.errors import IntakeError, PlanError, PolicyError
from shared.machine.files import make_folder, write_atomic
from shared.machine.yaml_file import YamlMistakesError, read_yaml
from shared.signing.canonical import canonical_json
from shared.signing.keys import SigningKey, create_key, ensure_node_key, load_key
from shared.strict import FROZEN, list_mistakes

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The clock of this machine."""
    return datetime.now(UTC)


class SiteSettings(BaseModel):
    """``site.yaml``: what a hospital says about itself. Only name, key and declared size ever leave.

    Attributes:
        version: of this file's format.
        site: the site's name, unique in its federation.
        declared_patients: training patients, as published: a bucket, never the count.
        coordinator_key: public key of the coordinator that was joined; `osteofed-site join` writes it.
        profile: how the hospital's table, films and scanner are to be read.
    """

    model_config = FROZEN

    version: Literal[1] = 1
    site: str = Field(pattern="^[a-z][a-z0-9-]{1,40}$")
    declared_patients: int = Field(ge=1)
    coordinator_key: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    profile: SiteProfile = SiteProfile()


@dataclass(frozen=True)
class Site:
    """An opened site folder."""

    folder: Path
    settings: SiteSettings
    clock: Clock = utc_now

    @property
    def name(self) -> str:
        """The site's name."""
        return self.settings.site

    @cached_property
    def key(self) -> SigningKey:
        """The site's signing key."""
        return load_key(self.folder / "keys" / "signing.pem")

    @cached_property
    def pseudonyms(self) -> Pseudonyms:
        """Makes pseudonyms under the site's secret key."""
        return load_pseudonym_key(self.folder / "keys" / "pseudonym.key")

    @cached_property
    def linkage(self) -> Linkage:
        """Identities behind pseudonyms, and who has withdrawn.

        Raises:
            IntakeError: it cannot be opened, or is gone though patients were taken in.
        """
        path = self.folder / "linkage" / "linkage.bin"
        later = ("cohorts/*/v*", "ledger/members/*", "purges/*Z.json")  # written after it, never before
        if not path.exists() and any(any(self.folder.glob(pattern)) for pattern in later):
            raise IntakeError(
                "linkage-missing",
                "linkage/linkage.bin is gone, though patients were taken in here",
                hint="restore it from its newest copy: else who withdrew would come back",
            )
        return Linkage(path, self.pseudonyms)

    @cached_property
    def policy(self) -> PolicySettings:
        """What the hospital allows."""
        return read_policy(self.folder / "policy.yaml")

    @property
    def has_joined(self) -> bool:
        """Whether this site belongs to a federation."""
        return self.settings.coordinator_key is not None

    @property
    def coordinator_key(self) -> str:
        """Public key of the coordinator this site joined.

        Raises:
            PlanError: the site has not joined a federation.
        """
        if self.settings.coordinator_key is None:
            raise PlanError(
                "not-joined",
                f"site {self.name} has not joined a federation",
                hint="`osteofed-site join ENROLMENT.json` with the coordinator's answer",
            )
        return self.settings.coordinator_key

    def release_key(self, named: str | None) -> str:
        """Public key that must have signed a release which is read or measured here.

        Args:
            named: the key that a person here names; needed at a site that joined nobody.

        Raises:
            PlanError: nobody is named or joined, or another than the site's coordinator is named.
        """
        joined = self.settings.coordinator_key
        if named is None and joined is None:
            raise PlanError(
                "no-coordinator",
                f"site {self.name} has joined nobody, so that it cannot tell who signed the release",
                hint="add --coordinator KEY, the public key that the coordinator tells over another "
                "channel (`osteofed-coordinator init` shows it)",
            )
        if named is not None and joined is not None and named != joined:
            raise PlanError(
                "other-coordinator",
                f"site {self.name} has joined another coordinator than the one named",
                hint="leave --coordinator out, or use a site folder of its own for this release",
            )
        return str(named or joined)

    @cached_property
    def approvals(self) -> Approvals:
        """Plans known here, and what was decided about them."""
        return Approvals(
            self.folder,
            key=self.key,
            coordinator_key=self.coordinator_key,
            people=self.policy.approvals_needed,
        )

    def entry_problems(self, plan: Plan) -> tuple[str, ...]:
        """What a plan's roster says of this site that the site does not say of itself.

        Raises:
            PlanError: the site is not on the roster.
        """
        entry, own = plan.entry(self.name), self.settings.declared_patients
        problems = []
        if entry.public_key != self.key.public_hex:
            problems.append(
                f"the roster names key {entry.public_key[:12]} for this site, "
                f"which signs with {self.key.public_hex[:12]}"
            )
        if entry.declared_patients != own:
            problems.append(
                f"the roster declares {entry.declared_patients} patients for this site, "
                f"which publishes {own}"
            )
        return tuple(problems)

    def require_entry(self, plan: Plan) -> None:
        """Refuse a plan whose roster says something else of this site than the site itself.

        Raises:
            PlanError: with every difference, or when the site is not on the roster.
        """
        problems = self.entry_problems(plan)
        if problems:
            raise PlanError(
                "wrong-entry",
                "; ".join(problems),
                hint="ask for a plan that is written from this site's enrolment as it stands",
            )

    def page_file(self, cohort: str, version: int) -> Path:
        """Where the page of a cohort's version lies, if it was written."""
        return self.folder / "pages" / f"{cohort}-v{version}.html"

    @property
    def cohorts(self) -> Path:
        """Folder of frozen cohorts."""
        return self.folder / "cohorts"

    @property
    def staging(self) -> Path:
        """Films fetched from an archive: ``<cohort>/<patient>/<film>.dcm``, both names keyed."""
        return self.folder / "staging"

    @property
    def readings(self) -> Path:
        """Films of exams that were read with a release, beside their heat maps."""
        return self.folder / "readings"

    def encoder_file(self, sha256: str) -> Path:
        """Where encoder weights of a hash are cached."""
        return self.folder / "cache" / "encoders" / f"{sha256}.safetensors"


def create_site(folder: Path, *, name: str, declared_patients: int, profile: SiteProfile) -> Path:
    """Make a site's folder, keys, policy template and join request; nothing existing is touched.

    Returns:
        The join request to hand to the coordinator.

    Raises:
        PolicyError: the folder is a site already.
    """
    if (folder / "site.yaml").exists():
        raise PolicyError(
            "site-exists",
            f"{folder} is a site already",
            hint="choose an empty folder; keys and ledger are never overwritten",
        )
    settings = _described(name, declared_patients, profile)
    make_folder(folder)
    folder.chmod(0o700)  # also one that was there, and whatever the umask
    key = create_key(folder / "keys" / "signing.pem")
    node_key = ensure_node_key(folder / "keys" / "node.key").read_text().strip()
    create_pseudonym_key(folder / "keys" / "pseudonym.key")
    write_policy_template(folder / "policy.yaml")
    _write_settings(folder, settings)
    return _write_join_request(folder, settings, key, node_key)


def declare_size(folder: Path, declared_patients: int) -> Path:
    """Publish another size: in ``site.yaml``, and in a new join request under the same keys.

    The coordinator enrols the site anew. Approved plans name the former size, and are not answered.

    Returns:
        The join request to hand to the coordinator.
    """
    site = open_site(folder)
    settings = site.settings.model_copy(update={"declared_patients": declared_patients})
    node_key = ensure_node_key(folder / "keys" / "node.key").read_text().strip()
    _write_settings(folder, settings)
    return _write_join_request(folder, settings, site.key, node_key)


def _write_join_request(folder: Path, settings: SiteSettings, key: SigningKey, node_key: str) -> Path:
    request: dict[str, object] = {
        "version": 1,
        "site": settings.site,
        "public_key": key.public_hex,
        "node_key": node_key,
        "declared_patients": settings.declared_patients,
    }
    signed = request | {"signature": key.sign(canonical_json(request))}
    path = folder / "join-request.json"
    write_atomic(path, json.dumps(signed, indent=1).encode())
    return path


def join_federation(folder: Path, enrolment: Path) -> Site:
    """Trust the coordinator named in an enrolment file, from now on; a person has compared its key.

    Raises:
        PlanError: as ``enrolled_key``, or the site has joined another coordinator.
    """
    site = open_site(folder)
    key = enrolled_key(enrolment, site=site.name)
    if site.settings.coordinator_key not in (None, key):
        raise PlanError(
            "other-coordinator",
            f"site {site.name} has joined another coordinator",
            hint="a site folder belongs to one federation; make another with `osteofed-site init`",
        )
    settings = site.settings.model_copy(update={"coordinator_key": key})
    _write_settings(folder, settings)
    return Site(folder, settings, site.clock)


def open_site(folder: Path, *, clock: Clock = utc_now) -> Site:
    """Open a site's folder.

    Raises:
        IntakeError: there is none, or ``site.yaml`` is not valid; every mistake is named.
    """
    path = folder / "site.yaml"
    if not path.is_file():
        raise IntakeError(
            "no-site",
            f"{folder} is not a site's folder: it has no site.yaml",
            hint="make one with `osteofed-site init`, or name another --folder",
        )
    try:
        return Site(folder, read_yaml(path, SiteSettings, whole="site"), clock)
    except YamlMistakesError as error:
        raise IntakeError(
            "invalid-site",
            f"site.yaml is not valid:\n{error}",
            hint="docs/reference/site.md says what it holds",
        ) from None


def require_person(by: str) -> None:
    """Refuse a decision that nobody answers for.

    Raises:
        PolicyError: not a first and a last name.
    """
    if len(by.split()) < 2:
        raise PolicyError(
            "unnamed-person",
            "this needs the first and last name of the person who decides it",
            hint='add --by "First Last"',
        )


def _described(name: str, declared_patients: int, profile: SiteProfile) -> SiteSettings:
    try:
        return SiteSettings(site=name, declared_patients=declared_patients, profile=profile)
    except ValidationError as error:
        raise IntakeError(
            "invalid-description",
            "a site cannot be described so:\n" + "\n".join(list_mistakes(error, whole="site")),
            hint="a name is of lower-case letters, digits and dashes; patients are counted from 1",
        ) from None


def _write_settings(folder: Path, settings: SiteSettings) -> None:
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_atomic(folder / "site.yaml", text.encode())
