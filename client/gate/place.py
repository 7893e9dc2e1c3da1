"""Where a ledger lies: what a copy of the folder, here or on another machine, does not have in common.

A file that is made once and never written keeps its inode and the time of its last change of status;
neither can be set by whoever copies or restores it. Moving the folder within its disk changes neither,
and leaves no second one behind. A disk or a virtual machine that is put back as a whole is not noticed
here: the coordinator's countersigned heads are there for that. Imports canonical.
"""

from __future__ import annotations

from pathlib import Path

from shared.signing.canonical import hash_of

MACHINE_ID = Path("/etc/machine-id")  # systemd's machine-id(5); absent in most containers


def place_sha256(marker: Path, nonce: str) -> str:
    """Hash of the machine and of a file's identity on its disk.

    Args:
        marker: a file that is made once and never written.
        nonce: of the row that carries the hash, so that nobody can try out machines.
    """
    found = marker.stat()
    return hash_of(
        {
            "nonce": nonce,
            "machine": MACHINE_ID.read_text().strip() if MACHINE_ID.is_file() else "",
            "inode": str(found.st_ino),
            "changed_ns": str(found.st_ctime_ns),
        }
    )
