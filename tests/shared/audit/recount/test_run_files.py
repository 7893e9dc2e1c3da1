"""What a run folder holds is read as it lies there, and a damaged file is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from handed_over import HandedOver
from safetensors import safe_open
from safetensors.numpy import save_file

from server.run.folder import open_run
from shared.audit.recount.run_files import read_held, read_reply, read_rounds, reading
from shared.contract.payload import payload_sha256
from shared.errors import AuditError, RunError


def test_the_auditor_reads_what_the_coordinator_wrote(made_run: HandedOver) -> None:
    store = open_run(made_run.run_folder)
    rounds = read_rounds(made_run.run_folder)
    assert list(rounds) == [("train", 0), ("train", 1), ("train", 2)]
    for number in range(3):
        own, read = store.training.committed(number), rounds["train", number]
        np.testing.assert_array_equal(read.state().vector, own.vector)
        assert [vars(part) for part in read.contributions] == [vars(part) for part in own.contributions]
    held = read_held(made_run.run_folder, "elm")
    assert list(held.replies) == [("internal", 1), ("train", 1), ("train", 2)]
    for (stage, number), reply in held.replies.items():
        journal = store.stage(stage).journal(reply.total.size)
        assert payload_sha256(reply) == payload_sha256(journal.read(number).accepted["elm"].reply)
    assert list(held.aggregated) == [("train", 1), ("train", 2)]
    assert read_held(made_run.run_folder, "hop").aggregated == {}


@pytest.mark.parametrize("has_total", [False, True])
def test_an_answer_that_was_rejected_is_no_reply(handed: HandedOver, has_total: bool) -> None:
    path = handed.run_folder / "replies" / "train" / "0002" / "elm.safetensors"
    with safe_open(path, framework="np") as stored:
        text, total = dict(stored.metadata()), stored.get_tensor("total")
    kept = {"total": total} if has_total else {}
    save_file(kept, path, metadata=text | {"rejected": "protocol.not-finite"})
    assert read_reply(path) is None
    assert list(read_held(handed.run_folder, "elm").replies) == [("internal", 1), ("train", 1)]


DAMAGES = [b"", b"no such file", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}"]


@pytest.mark.parametrize("damage", DAMAGES, ids=repr)
def test_a_damaged_reply_or_state_is_an_error_that_names_it(handed: HandedOver, damage: bytes) -> None:
    reply = handed.run_folder / "replies" / "train" / "0002" / "elm.safetensors"
    reply.write_bytes(damage)
    with pytest.raises(AuditError, match=r"0002/elm\.safetensors cannot be read") as caught:
        read_held(handed.run_folder, "elm")
    assert caught.value.code == "audit.damaged-run-folder"
    state = handed.run_folder / "rounds" / "train" / "0001" / "state.safetensors"
    state.write_bytes(damage)
    with pytest.raises(AuditError, match=r"0001/state\.safetensors cannot be read"):
        read_rounds(handed.run_folder)["train", 1].state()


def test_a_round_under_a_name_that_is_no_number_is_damaged(handed: HandedOver) -> None:
    folder = handed.run_folder / "rounds" / "train" / "0001"
    folder.rename(folder.with_name("1st"))
    with pytest.raises(AuditError, match=r"1st/state\.json cannot be read"):
        read_rounds(handed.run_folder)


@pytest.mark.parametrize(
    "error",
    [OSError(), ValueError(), KeyError("x"), TypeError(), RunError("journal-damaged", "x")],
    ids=repr,
)
def test_whatever_is_wrong_with_a_file_is_one_error_that_names_it(
    error: Exception, tmp_path: Path
) -> None:
    told = rf"0001/state\.json cannot be read: {type(error).__name__}"
    with pytest.raises(AuditError, match=told), reading(tmp_path / "0001" / "state.json"):
        raise error
    with pytest.raises(ZeroDivisionError), reading(tmp_path / "state.json"):
        raise ZeroDivisionError
