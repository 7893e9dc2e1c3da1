"""Who is who: the site's pseudonym key, and the one sealed file that leads back to people.

The key never leaves the site. Everything keyed derives from it, each use under its own purpose:
pseudonyms, date shifts, splits, names of films and quarantined items, and the file's own seal.
Dates are not stored: a shifted day plus the key gives the date back. Budgets are bound to pseudonyms,
so the issuer that goes into them never changes, and who withdrew is remembered by a keyed tombstone.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import NewType

from shared.errors import IntakeError
from shared.machine.files import write_atomic
from shared.signing.keys import seal, unseal

LINKAGE_VERSION = 2
# A person at one site, as everything but the sealed file names one; outside the site it is nothing.
PatientKey = NewType("PatientKey", str)
_KEY_BYTES = 32
_SHIFT_SPAN_DAYS = 36_525  # 100 years: a shifted day says nothing about the calendar


class Pseudonyms:
    """Keyed names and shifted days of one site."""

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise IntakeError(
                "wrong-pseudonym-key",
                f"a pseudonym key must have {_KEY_BYTES} bytes, not {len(key)}",
                hint="restore the key file from backup; a new key makes every patient a new one",
            )
        self._key = key

    def subkey(self, purpose: str) -> bytes:
        """A 32-byte key for one purpose, from which no other key can be computed."""
        return hmac.new(self._key, b"subkey\0" + purpose.encode(), hashlib.sha256).digest()

    def patient_key(self, issuer: str, patient_id: str) -> PatientKey:
        """The pseudonym of (issuer, PatientID): 32 hexadecimal digits."""
        return PatientKey(self._name("patient", issuer, patient_id))

    def film_key(self, sop_instance_uid: str) -> str:
        """The pseudonym of a film."""
        return self._name("film", sop_instance_uid)

    def exam_key(self, patient: PatientKey, day: int) -> str:
        """The name of a patient's exam on a shifted day."""
        return self._name("exam", patient, str(day))

    def tombstone(self, patient: PatientKey) -> str:
        """The name under which a withdrawal is remembered; it stands nowhere else."""
        return self._name("withdrawn", patient)

    def item_key(self, kind: str, place: str) -> str:
        """The name under which a file or a row stands in the quarantine."""
        return self._name("item", kind, place)

    def day_of(self, patient: PatientKey, acquired: date) -> int:
        """Days since the patient's own origin; differences within a patient are true days."""
        return acquired.toordinal() - self._shift(patient)

    def date_of(self, patient: PatientKey, day: int) -> date:
        """The date behind a shifted day: for the site alone, by the prospective rule or a person."""
        return date.fromordinal(day + self._shift(patient))

    def _shift(self, patient: PatientKey) -> int:
        digest = hmac.new(self.subkey("shift"), patient.encode(), hashlib.sha256).digest()
        return int.from_bytes(digest[:8], "big") % _SHIFT_SPAN_DAYS

    def _name(self, purpose: str, *parts: str) -> str:
        # JSON keeps ("a", "bc") and ("ab", "c") apart, whatever the parts contain.
        message = json.dumps(parts).encode()
        return hmac.new(self.subkey(purpose), message, hashlib.sha256).hexdigest()[:32]


def create_pseudonym_key(path: Path) -> Pseudonyms:
    """Make a key from the operating system's randomness, readable by its owner only.

    Raises:
        IntakeError: there is one already; a second would make every patient a new one.
    """
    if path.exists():
        raise IntakeError(
            "pseudonym-key-exists",
            f"key file {path.name} exists already",
            hint="keep it: budgets are bound to the pseudonyms that it makes",
        )
    key = os.urandom(_KEY_BYTES)
    write_atomic(path, key, mode=0o600)
    return Pseudonyms(key)


def load_pseudonym_key(path: Path) -> Pseudonyms:
    """Read the key.

    Raises:
        IntakeError: absent, of the wrong length, or readable by others.
    """
    try:
        mode = path.stat().st_mode
        key = path.read_bytes()
    except OSError as error:
        raise IntakeError(
            "no-pseudonym-key",
            f"key file {path.name} cannot be read: {type(error).__name__}",
            hint="restore the key from backup; without it nobody here is known by any pseudonym",
        ) from None
    if mode & 0o077:
        raise IntakeError(
            "open-pseudonym-key",
            f"key file {path.name} must be readable by its owner only",
            hint="chmod 600",
        )
    return Pseudonyms(key)


@dataclass(frozen=True)
class Identity:
    """Who a pseudonym is, at this site only."""

    issuer: str = field(repr=False)
    patient_id: str = field(repr=False)


class Linkage:
    """The sealed file: pseudonyms to identities, quarantined items to places, tombstones.

    Raises:
        IntakeError: the file cannot be opened with this key, or is of another version.
    """

    def __init__(self, path: Path, pseudonyms: Pseudonyms) -> None:
        self._path = path
        self._pseudonyms = pseudonyms
        self._secret = pseudonyms.subkey("linkage")
        self._is_held = False
        self._issuer: str | None = None
        self._read()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from writing; an intake and a withdrawal wait for each other."""
        if self._is_held:
            yield
            return
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._path.with_name("lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._is_held = True
            self._read()
            yield
        finally:
            self._is_held = False
            os.close(descriptor)

    def issuer_for(self, issuer: str) -> str:
        """The issuer that goes into pseudonyms: the one of the first intake, for ever.

        A site that named none at first may name one later to keep foreign films out.

        Raises:
            IntakeError: another one was named before; everybody would come back with a fresh budget.
        """
        if self._issuer is None or issuer == self._issuer:
            return issuer
        if self._issuer == "":
            return ""
        raise IntakeError(
            "issuer-changed",
            "the site profile names another issuer of patient numbers than the first intake did",
            hint="put the first one back: budgets are bound to people by issuer and number",
        )

    def add(self, patients: Mapping[PatientKey, Identity], items: Mapping[str, str]) -> None:
        """Remember people and places, and write the file; what is known stays, who withdrew stays out.

        Raises:
            IntakeError: people of another issuer than before.
        """
        with self.held():
            for key, identity in patients.items():
                self._issuer = self.issuer_for(identity.issuer)
                if not self.is_withdrawn(key):
                    self._patients[key] = identity
            self._items |= dict(items)
            self._write()

    def withdraw(self, patient: PatientKey, *, by: str, now: datetime) -> None:
        """Forget who a pseudonym is and remember, without naming anybody, not to take them in again."""
        with self.held():
            self._patients.pop(patient, None)
            record = {"utc": now.isoformat(), "by": by}
            self._withdrawn.setdefault(self._pseudonyms.tombstone(patient), record)
            self._write()

    def forget_everybody(self) -> None:
        """Forget who pseudonyms are and where items came from; withdrawals and the issuer stay."""
        with self.held():
            self._patients.clear()
            self._items.clear()
            self._write()

    def is_withdrawn(self, patient: PatientKey) -> bool:
        """Whether the person behind a pseudonym has withdrawn."""
        return self._pseudonyms.tombstone(patient) in self._withdrawn

    def identity_of(self, patient: PatientKey) -> Identity | None:
        """The person behind a pseudonym, or None."""
        return self._patients.get(patient)

    def place_of(self, item: str) -> str | None:
        """The file or row behind a quarantined item, or None."""
        return self._items.get(item)

    def _write(self) -> None:
        content = {
            "version": LINKAGE_VERSION,
            "issuer": self._issuer,
            "patients": {
                key: [identity.issuer, identity.patient_id] for key, identity in self._patients.items()
            },
            "items": self._items,
            "withdrawn": self._withdrawn,
        }
        sealed = seal(self._secret, json.dumps(content).encode(), purpose="linkage")
        write_atomic(self._path, sealed, mode=0o600)

    def _read(self) -> None:
        self._issuer = None
        self._patients: dict[PatientKey, Identity] = {}
        self._items: dict[str, str] = {}
        self._withdrawn: dict[str, dict[str, str]] = {}
        if not self._path.exists():
            return
        try:
            content = json.loads(unseal(self._secret, self._path.read_bytes(), purpose="linkage"))
            if content["version"] == 1:  # before anybody could withdraw
                issuers = [identity[0] for identity in content["patients"].values()]
                content |= {"withdrawn": {}, "issuer": issuers[0] if issuers else None}
            elif content["version"] != LINKAGE_VERSION:
                raise ValueError("version")
            self._issuer = content["issuer"]
            self._patients = {
                PatientKey(key): Identity(*identity) for key, identity in content["patients"].items()
            }
            self._items, self._withdrawn = dict(content["items"]), dict(content["withdrawn"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise IntakeError(
                "unreadable-linkage",
                f"the linkage file cannot be opened: {type(error).__name__}",
                hint="it needs the pseudonym key it was written with; restore both from backup",
            ) from None
