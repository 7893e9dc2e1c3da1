"""How a site and its PACS or database know each other: secrets, and whose certificates are trusted.

Secrets come from the environment or a file of the owner's alone; they are never an argument of a
command, and no text of an error or a log holds one. Imports errors.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from shared.errors import IntakeError


def read_secret(variable: str, file: Path | None) -> str | None:
    """The secret in a file, or in an environment variable; None if there is neither.

    Raises:
        IntakeError: the file cannot be read, is empty, or can be read by others.
    """
    if file is None:
        return os.environ.get(variable) or None
    try:
        mode, text = file.stat().st_mode, file.read_text().strip()
    except (OSError, ValueError) as error:
        raise IntakeError(
            "unreadable-secret",
            f"the file with the secret cannot be read: {type(error).__name__}",
            hint=f"name a text file, or set {variable}",
        ) from None
    if mode & 0o077:
        raise IntakeError(
            "open-secret",
            "the file with the secret must be readable by its owner only",
            hint="chmod 600",
        )
    if not text:
        raise IntakeError(
            "unreadable-secret", "the file with the secret is empty", hint=f"fill it, or set {variable}"
        )
    return text


def trust(ca: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or later with a server whose name and certificate hold.

    Args:
        ca: the authority that signed the certificate, a PEM file; the system's authorities if None.

    Raises:
        IntakeError: the file cannot be read, or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise IntakeError(
            "unreadable-ca",
            f"the file of --ca cannot be read: {type(error).__name__}",
            hint="name the PEM file of the authority that signed the PACS's certificate",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
