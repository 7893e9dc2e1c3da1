"""A PACS and a database of the tests' own: processes on loopback, folders of their own, ended here."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

INSTALL = Path(__file__).parents[1] / "services" / "install.sh"
LOGIN = f"osteofed:{secrets.token_hex(12)}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def packages() -> None:
    subprocess.run([str(INSTALL)], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def running(command: list[str], log: Path, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended, with what it started, when the block ends."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, start_new_session=True, **options
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Pacs:
    """A running Orthanc: where it listens and what it calls itself."""

    url: str
    rest: str
    dimse_port: int
    move_port: int
    called_aet: str = "TESTPACS"
    calling_aet: str = "OSTEOFED"

    @property
    def http(self) -> httpx.Client:
        user, _, password = LOGIN.partition(":")
        return httpx.Client(base_url=self.rest, auth=(user, password), timeout=60, trust_env=False)

    def push(self, folder: Path) -> int:
        """Store every file that Orthanc takes; returns how many."""
        with self.http as http:
            answers = [
                http.post("/instances", content=path.read_bytes())
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            ]
        return sum(answer.status_code == 200 for answer in answers)

    def empty(self) -> None:
        with self.http as http:
            for patient in http.get("/patients").json():
                http.delete(f"/patients/{patient}")


@pytest.fixture(scope="module")
def pacs(packages: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    """Orthanc with its DICOMweb plugin, both from Debian; empty."""
    with orthanc(tmp_path_factory.mktemp("orthanc")) as found:
        yield found


@contextmanager
def orthanc(folder: Path, **settings: object) -> Iterator[Pacs]:
    """An empty Orthanc with a folder of its own, and further settings of its configuration."""
    web, dimse, move = free_port(), free_port(), free_port()
    user, _, password = LOGIN.partition(":")
    (folder / "orthanc.json").write_text(
        json.dumps(
            {
                "Name": "TESTPACS",
                "StorageDirectory": str(folder / "storage"),
                "IndexDirectory": str(folder / "index"),
                "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
                "HttpServerEnabled": True,
                "HttpPort": web,
                "HttpBindAddresses": ["127.0.0.1"],
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": True,
                "RegisteredUsers": {user: password},
                "DicomServerEnabled": True,
                "DicomAet": "TESTPACS",
                "DicomPort": dimse,
                "DicomAlwaysAllowFind": False,
                "DicomCheckCalledAet": True,
                "DicomModalities": {
                    "osteofed": {
                        "AET": "OSTEOFED",
                        "Host": "127.0.0.1",
                        "Port": move,
                        "AllowGet": True,
                        "AllowMove": True,
                        "AllowFind": True,
                    }
                },
                "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                **settings,
            }
        )
    )
    rest = f"http://127.0.0.1:{web}"
    found = Pacs(f"{rest}/dicom-web", rest, dimse, move)
    with running(["/usr/sbin/Orthanc", str(folder / "orthanc.json")], folder / "log") as process:
        with found.http as http:
            for _ in range(120):
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                try:
                    if http.get("/system").status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.25)
        yield found


@pytest.fixture(scope="module")
def database(packages: None) -> Iterator[str]:
    """A PostgreSQL of its own; the URL holds its password."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    password, port = secrets.token_hex(12), free_port()
    owner = pwd.getpwnam("postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name)
    become = {"user": owner.pw_uid, "group": owner.pw_gid} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # sockets need a short path
    try:
        secret = folder / "password"
        secret.write_text(password)
        for path in (folder, secret):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-U", "reader", "-A", "scram-sha-256",
             f"--pwfile={secret}", "-E", "UTF8", "--locale=C", "-N"],
            check=True, stdout=subprocess.DEVNULL, cwd=folder, **become,
        )  # fmt: skip
        command = [
            str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port),
            "-h", "127.0.0.1", "-k", str(folder), "-F",
        ]  # fmt: skip
        url = f"postgresql+psycopg://reader:{password}@127.0.0.1:{port}/postgres"
        log = folder / "log"
        with running(command, log, cwd=folder, **become):
            _wait_for(url, log)
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(url: str, log: Path) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)
    for _ in range(120):
        try:
            with engine.connect():
                break
        except sqlalchemy.exc.OperationalError:
            time.sleep(0.25)
    else:
        raise AssertionError(log.read_text()[-2000:])
    engine.dispose()
