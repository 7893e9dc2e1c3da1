"""How far one request walks through a hospital: the files that decide about it, the calls of the gate.

The numbers are those of this tree: a file more is a reason to look whether it must be there.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from flwr.app import Message
from table_site import TableSites
from walk import PAGE, Walk, page, walk

from client.app import app
from server.engines.local import LocalGrid
from shared.contract.protocol import SumReply, SumRequest, from_record, to_record

# Handed the request, its plan, a stage, the charge or the answer.
DECIDING = {
    "app.py",
    "answers/answer.py",
    "answers/asked.py",
    "cohort/patients.py",
    "gate/gate.py",
    "gate/ledger.py",
    "gate/outbox.py",
    "site/approval.py",
    "site/approved.py",
}
# Open, read and keep what these work with.
KEEPING = {
    "answers/held.py",
    "cohort/assemble.py",
    "cohort/folder.py",
    "cohort/tokens.py",
    "cohort/versions.py",
    "gate/charges.py",
    "gate/ledger_file.py",
    "gate/place.py",
    "site/context.py",
    "site/declared.py",
    "site/folder.py",
    "site/policy.py",
    "site/profile.py",
}
GATE = ["Gate.answer"]


def send(folder: Path, request: SumRequest) -> Message:
    grid = LocalGrid(app, {"elm": folder})
    [reply] = grid.send_and_receive([grid.create_message(to_record(request), "train", 2, "1", 60.0)])
    return reply


def walked(sites: TableSites, request: SumRequest) -> Walk:
    """The walk of a request that is answered with a measured total."""
    replies: list[Message] = []
    folder = sites.folder / "sites" / "elm"
    found = walk(lambda: replies.append(send(folder, request)))
    assert from_record(replies[0].content, SumReply).status == "measured"
    return found


@pytest.mark.parametrize("stage", ["train", "internal"])
def test_a_request_is_decided_in_nine_files_and_calls_the_gate_once(
    sites: TableSites, stage: str
) -> None:
    send(sites.folder / "sites" / "elm", sites.train_request())  # what is found out once a plan
    request = sites.train_request(round=3) if stage == "train" else sites.measure_request(stage)
    found = walked(sites, request)
    assert set(found.deciding) == DECIDING
    assert set(found.files) == DECIDING | KEEPING
    assert found.gate == GATE


def test_the_page_of_the_walk_is_what_the_tracer_sees(sites: TableSites) -> None:
    asked = {
        "first request of a plan": sites.train_request(),
        "training": sites.train_request(round=3),
        "validation": sites.measure_request(),
    }
    # what is settled once a plan, the first request settles
    shutil.rmtree(sites.folder / "sites" / "elm" / "approvals" / "settled")
    walks = {title: walked(sites, request) for title, request in asked.items()}
    assert PAGE.read_text() == page(walks), "run python tests/practice/walk.py --page"


def test_a_request_that_comes_again_looks_at_no_patient(sites: TableSites) -> None:
    folder, request = sites.folder / "sites" / "elm", sites.train_request()
    first = from_record(send(folder, request).content, SumReply)
    replies: list[Message] = []
    found = walk(lambda: replies.append(send(folder, request)))
    assert from_record(replies[0].content, SumReply).signature == first.signature
    assert found.gate == GATE
    assert not [name for name in found.files if name.startswith("cohort/")]


def test_policy_and_model_are_tried_once_a_plan(sites: TableSites) -> None:
    requests = [sites.train_request(round=number) for number in (2, 3)]
    shutil.rmtree(sites.folder / "sites" / "elm" / "approvals" / "settled")
    first, second = (walked(sites, request) for request in requests)
    tries = {"Approved.settle"}
    assert tries <= set(first.files["site/approved.py"])
    assert "check_plan" in first.files["site/policy.py"]
    assert not tries & set(second.files["site/approved.py"])
    assert "check_plan" not in second.files["site/policy.py"]


def test_the_tracer_sees_a_file_that_is_entered_and_not_what_python_runs_on_import() -> None:
    from client.site.context import site_folder_from

    def ask_for_nothing() -> None:
        with pytest.raises(AttributeError):
            site_folder_from(None)  # type: ignore[arg-type]

    assert list(walk(ask_for_nothing).files) == ["site/context.py"]
    assert walk(lambda: None).files == {}
