"""The audit register: extra coordinates of the clipped sum on which only canaries ever write.

A run with ``privacy.canaries = m`` appends m coordinates to every patient's gradient. Canary j, a
patient who does not exist, has the raw gradient −10·C on coordinate j and zero on the model; it takes
part if its coin fell so. Canaries pass through the same clip, sampler, sum, noise and optimizer as
patients, and cost no utility. Noise is drawn once over model and register, in an order that is drawn
afresh in every round and told only here. The site keeps the register's part of each noised sum; no
patient ever writes there, so it says nothing about anybody. Coins are committed to in the ledger before
round 1 and revealed in the record.
Source: the one-run audit of Steinke, Nasr, Jagielski 2023 (arXiv 2305.08846) with canaries that are
orthogonal to the model and to each other. Imports canonical, errors and files.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import AuditError
from shared.machine.files import write_atomic
from shared.signing.canonical import sha256_hex

REGISTER_VERSION = 2  # 2: where each number lay in the draw of noise


@dataclass(frozen=True)
class RegisterRecord:
    """What a site recorded on its register during one run, and the coins.

    Shapes:
        sums [steps, m] float64: the register's part of the noised sum of every step, in order of
        rounds; coins [m] bool, True = the canary took part; rounds [steps] int: which round a step was;
        places [steps, m] int: where in a step's draw of ``length`` normals each number lay.
    """

    site: str
    plan_sha256: str
    salt: bytes
    coins: NDArray[np.bool_]
    sums: NDArray[np.float64]
    rounds: NDArray[np.int64]
    places: NDArray[np.int32]
    length: int

    @property
    def commitment(self) -> str:
        """SHA-256 of salt and coins: what the ledger's charges must name."""
        return commit_coins(self.salt, self.coins)


def commit_coins(salt: bytes, coins: NDArray[np.bool_]) -> str:
    """SHA-256 of salt ‖ coins, one byte each."""
    return sha256_hex(salt + coins.astype(np.uint8).tobytes())


def write_register(path: Path, record: RegisterRecord) -> None:
    """Write a record as one ``.npz`` file."""
    write_atomic(path, pack_register(record), mode=0o600)


def pack_register(record: RegisterRecord) -> bytes:
    """A record as the bytes of its ``.npz`` file."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        version=np.array(REGISTER_VERSION),
        site=np.array(record.site),
        plan_sha256=np.array(record.plan_sha256),
        salt=np.frombuffer(record.salt, dtype=np.uint8),
        coins=record.coins,
        sums=record.sums,
        rounds=record.rounds,
        places=record.places,
        length=np.array(record.length),
    )
    return buffer.getvalue()


def read_register(path: Path) -> RegisterRecord:
    """Read a record back.

    Raises:
        AuditError: not a record, of another version, or its parts do not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            version = int(content["version"])
            record = RegisterRecord(
                site=str(content["site"]),
                plan_sha256=str(content["plan_sha256"]),
                salt=content["salt"].tobytes(),
                coins=content["coins"].astype(bool),
                sums=content["sums"].astype(np.float64),
                rounds=content["rounds"].astype(np.int64),
                places=content["places"].astype(np.int32),
                length=int(content["length"]),
            )
    except (OSError, ValueError, KeyError) as error:
        raise AuditError(
            "unreadable-register",
            f"{path.name} holds no register: {type(error).__name__}",
            hint="ask the site for the file that `osteofed-site register` wrote",
        ) from None
    if version != REGISTER_VERSION or not _fits(record):
        raise AuditError(
            "unreadable-register",
            f"{path.name} must be of version {REGISTER_VERSION} with a sum and a place per step and "
            "canary",
            hint="ask the site for the file that `osteofed-site register` wrote",
        )
    return record


def _fits(record: RegisterRecord) -> bool:
    """Whether there is a sum for every step and canary, at a place of its own."""
    shape = (len(record.rounds), len(record.coins))
    if not record.sums.shape == record.places.shape == shape:
        return False
    places = np.sort(record.places, axis=1)
    is_within = not places.size or (places.min() >= 0 and places.max() < record.length)
    return bool(is_within and (np.diff(places, axis=1) > 0).all())
