"""The journal of replies: what is kept of each answer, in whose order, and what is asked again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from server.run.journal import Journal
from shared.contract.protocol import SumReply, vector_sha256
from shared.errors import RunError


def reply(total: np.ndarray, **changes: object) -> SumReply:
    good = SumReply(
        plan_sha256="p" * 64,
        stage="train",
        round=1,
        site="a",
        status="measured",
        release_class="dp",
        vector_sha256="w" * 64,
        release_sha256="",
        total=total,
        ledger_head="h" * 64,
        signature="s",
    )
    return replace(good, **changes)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "0001").iterdir())


def test_the_journal_returns_replies_in_roster_order_as_memory_maps(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sites=("b", "a"), length=3)
    for site, value in (("a", 1.0), ("b", 2.0)):
        journal.accept(1, reply(np.full(3, value, "<f4")), site=site, total_sha256=site)
    accepted = journal.read(1).accepted
    assert list(accepted) == ["b", "a"]
    assert accepted["a"].total_sha256 == "a"
    assert isinstance(accepted["a"].reply.total.base, np.memmap)
    np.testing.assert_array_equal(accepted["b"].reply.total, [2, 2, 2])


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
def test_every_field_of_an_accepted_reply_comes_back_as_it_arrived(tmp_path: Path, kind: str) -> None:
    journal = Journal(tmp_path, sites=("a",), length=3)
    sent = reply(
        np.array([1 / 3, -0.0, 1e30], kind), round=7, release_sha256="r" * 64, status="waiting"
    )
    journal.accept(7, sent, site="a", total_sha256="t" * 64)
    kept = journal.read(7).accepted["a"].reply
    assert kept.total.dtype == np.dtype(kind)
    assert kept.total.tobytes() == sent.total.tobytes()
    assert replace(kept, total=sent.total) == sent


def test_an_empty_total_is_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sites=("a",), length=3)
    journal.accept(1, reply(np.zeros(0), status="not-applicable"), site="a", total_sha256="t")
    kept = journal.read(1).accepted["a"].reply
    assert (kept.status, kept.total.size) == ("not-applicable", 0)


def test_rounds_are_apart_and_a_site_that_was_not_asked_is_not_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sites=("a",), length=3)
    journal.accept(1, reply(np.ones(3, "<f4")), site="a", total_sha256="t")
    journal.accept(1, reply(np.ones(3, "<f4")), site="stranger", total_sha256="t")
    assert list(journal.read(1).accepted) == ["a"]
    assert journal.read(2).accepted == {}


def test_the_journal_keeps_only_a_bounded_part_of_a_rejected_total(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sites=("a",), length=3)
    journal.reject(1, reply(np.zeros(10_000, "<f4")), site="a", code="protocol.wrong-shape")
    assert journal.read(1).rejected == {"a": "protocol.wrong-shape"}
    assert (tmp_path / "0001" / "a.safetensors").stat().st_size < 1000


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
def test_a_total_of_another_number_type_is_journalled_as_its_code(tmp_path: Path, dtype: str) -> None:
    journal = Journal(tmp_path, sites=("a",), length=3)
    journal.reject(1, reply(np.zeros(3, dtype)), site="a", code="protocol.wrong-type")
    assert journal.read(1).rejected == {"a": "protocol.wrong-type"}


def test_an_answer_that_was_no_reply_is_journalled_as_its_code(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sites=("a",), length=3)
    journal.reject(1, None, site="a", code="privacy.budget-exhausted")
    assert journal.read(1).accepted == {}
    assert journal.read(1).rejected == {"a": "privacy.budget-exhausted"}


def test_setting_aside_leaves_accepted_replies_and_numbers_the_others(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sites=("a", "b"), length=3)
    for attempt in (1, 2):
        journal.accept(1, reply(np.ones(3, "<f4")), site="a", total_sha256="t")
        journal.reject(1, None, site="b", code=f"run.attempt-{attempt}")
        journal.set_aside(1)
    assert list(journal.read(1).accepted) == ["a"]
    assert journal.read(1).rejected == {}
    assert names(tmp_path) == ["a.safetensors", "b.1.aside", "b.2.aside"]


def test_setting_aside_unless_keeps_what_stands_and_rejected_answers_never_do(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sites=("a", "b", "c"), length=3)
    journal.accept(1, reply(np.ones(3, "<f4")), site="a", total_sha256="t")
    journal.accept(1, reply(np.zeros(0), status="waiting"), site="b", total_sha256="t")
    journal.reject(1, reply(np.ones(3, "<f4")), site="c", code="protocol.bad-signature")
    seen: list[str] = []

    def stands(answer: SumReply) -> bool:
        seen.append(answer.status)
        return answer.status == "measured"

    journal.set_aside(1, unless=stands)
    assert sorted(seen) == ["measured", "waiting"], "a rejected reply is not even asked about"
    assert list(journal.read(1).accepted) == ["a"]
    assert journal.read(1).rejected == {}
    assert names(tmp_path) == ["a.safetensors", "b.1.aside", "c.1.aside"]


def test_setting_aside_an_empty_round_changes_nothing(tmp_path: Path) -> None:
    Journal(tmp_path, sites=("a",), length=3).set_aside(1)
    assert list(tmp_path.iterdir()) == []


def test_what_is_torn_is_set_aside_by_name_and_the_rest_stands(tmp_path: Path) -> None:
    sites = ("a", "b", "c", "d")
    journal, total = Journal(tmp_path, sites=sites, length=3), np.ones(3, "<f4")
    for site in sites[:3]:
        journal.accept(1, reply(total), site=site, total_sha256=vector_sha256(total))
    journal.reject(1, None, site="d", code="policy.closed")
    assert journal.set_torn_aside(1) == ()
    (tmp_path / "0001" / "b.safetensors").write_bytes(b"")
    journal.accept(1, reply(total), site="c", total_sha256=vector_sha256(2 * total))
    assert journal.set_torn_aside(1) == ("b", "c")
    assert (list(journal.read(1).accepted), list(journal.read(1).rejected)) == (["a"], ["d"])
    assert names(tmp_path) == ["a.safetensors", "b.1.aside", "c.1.aside", "d.safetensors"]


def test_a_damaged_reply_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sites=("a",), length=3)
    journal.accept(1, reply(np.ones(3, "<f4")), site="a", total_sha256="t")
    path = tmp_path / "0001" / "a.safetensors"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(RunError) as caught:
        journal.read(1)
    assert caught.value.code == "run.damaged-file"


def test_a_later_answer_takes_the_place_of_the_earlier(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sites=("a",), length=3)
    journal.reject(1, None, site="a", code="policy.no")
    journal.accept(1, reply(np.ones(3, "<f4")), site="a", total_sha256="t")
    assert list(journal.read(1).accepted) == ["a"]
    assert journal.read(1).rejected == {}


def test_of_a_rejected_total_at_most_four_times_its_due_length_is_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sites=("a",), length=3)
    sizes = []
    for n in (12, 13, 13_000):
        journal.reject(n, reply(np.ones(n, "<f4")), site="a", code="protocol.wrong-shape")
        sizes.append((tmp_path / f"{n:04d}" / "a.safetensors").stat().st_size)
    assert sizes[0] == sizes[1]
    assert sizes[2] - sizes[1] < 16
