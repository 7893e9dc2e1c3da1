"""The replies journal: what is read is what arrived, and who is asked again after a stop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from server.run.journal import Journal
from shared.contract.protocol import TrainReply
from shared.errors import RunError

SITES = ("cedar", "aster", "birch")


def reply(site: str, value: float = 1.0, n: int = 3) -> TrainReply:
    return TrainReply(
        plan_sha256="p" * 64,
        round=2,
        site=site,
        weights_sha256="w" * 64,
        update=np.full(n, value, dtype="<f4"),
        ledger_head="ab",
        signature="ff",
    )


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "replies", sites=SITES, n_parameters=3)


def test_an_accepted_reply_is_read_back_with_every_field(journal: Journal) -> None:
    journal.accept(2, reply("aster", 4.0), site="aster", update_sha256="u" * 64)
    entry = journal.read(2).accepted["aster"]
    sent = reply("aster", 4.0)
    assert {n: v for n, v in vars(entry.reply).items() if n != "update"} == {
        n: v for n, v in vars(sent).items() if n != "update"
    }
    assert entry.reply.update.tolist() == [4.0, 4.0, 4.0]
    assert entry.update_sha256 == "u" * 64


def test_rounds_do_not_mix_and_order_is_the_rosters(journal: Journal) -> None:
    for site in ("birch", "cedar", "aster"):
        journal.accept(2, reply(site), site=site, update_sha256="")
    journal.accept(3, reply("aster"), site="aster", update_sha256="")
    assert tuple(journal.read(2).accepted) == SITES
    assert tuple(journal.read(3).accepted) == ("aster",)
    assert journal.read(4).accepted == {}


def test_a_rejected_answer_keeps_its_code_even_where_it_was_no_reply(journal: Journal) -> None:
    journal.reject(2, None, site="aster", code="policy.no")
    journal.reject(2, reply("birch"), site="birch", code="protocol.norm-exceeded")
    assert journal.read(2).rejected == {
        "aster": "policy.no",
        "birch": "protocol.norm-exceeded",
    }
    assert journal.read(2).accepted == {}


def test_a_later_answer_takes_the_place_of_the_earlier(journal: Journal) -> None:
    journal.reject(2, None, site="aster", code="policy.no")
    journal.accept(2, reply("aster"), site="aster", update_sha256="")
    assert tuple(journal.read(2).accepted) == ("aster",)
    assert journal.read(2).rejected == {}


def test_only_rejected_answers_are_set_aside_and_each_attempt_is_kept(
    journal: Journal, tmp_path: Path
) -> None:
    journal.accept(2, reply("aster"), site="aster", update_sha256="")
    for _ in range(2):
        journal.reject(2, None, site="birch", code="policy.no")
        journal.set_rejected_aside(2)
    assert tuple(journal.read(2).accepted) == ("aster",)
    assert journal.read(2).rejected == {}
    folder = tmp_path / "replies" / "0002"
    assert sorted(path.name for path in folder.glob("*.aside")) == ["birch.1.aside", "birch.2.aside"]


def test_of_a_rejected_update_at_most_four_times_its_due_length_is_kept(
    journal: Journal, tmp_path: Path
) -> None:
    sizes = []
    for n in (12, 13, 13_000):
        journal.reject(n, reply("aster", n=n), site="aster", code="protocol.wrong-shape")
        path = tmp_path / "replies" / f"{n:04d}" / "aster.safetensors"
        sizes.append(path.stat().st_size)
    assert sizes[0] == sizes[1]
    assert sizes[2] - sizes[1] < 16


def test_a_damaged_file_is_named(journal: Journal, tmp_path: Path) -> None:
    journal.accept(2, reply("aster"), site="aster", update_sha256="")
    path = tmp_path / "replies" / "0002" / "aster.safetensors"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(RunError) as caught:
        journal.read(2)
    assert caught.value.code == "run.damaged-file"
