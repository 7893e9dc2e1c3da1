"""A simulation's folder: what it was made from, what differs, and what is not one."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.simulation.record import differing, require_same, write_record
from shared.errors import RunError

HASH = "ab" * 32
INPUTS = {
    "hospital": {"ash": {"role": "training", "table": HASH}},
    "settings": {"privacy": {"epsilon": 1.0, "delta": 1e-5}, "measures": {}},
    "seed": 1,
}


def test_an_empty_folder_and_one_of_the_same_inputs_are_gone_on_with(tmp_path: Path) -> None:
    require_same(tmp_path, INPUTS)
    require_same(tmp_path / "none", INPUTS)
    write_record(tmp_path, INPUTS)
    require_same(tmp_path, INPUTS)


def test_each_difference_is_a_line_and_no_hash_is_written_out() -> None:
    now = {
        "hospital": {
            "ash": {"role": "external", "table": "cd" * 32},
            "elm": {"role": "training", "table": HASH},
        },
        "settings": {"privacy": {"epsilon": 2.0, "delta": 1e-5}, "measures": {"errors": HASH}},
        "seed": 1,
    }
    assert differing(INPUTS, now) == [
        "  hospital ash: another role, another table",
        "  hospital elm: was not there then",
        "  settings.measures: {} then, nothing now",
        "  settings.measures.errors: nothing then, abababababab… now",
        "  settings.privacy.epsilon: 1.0 then, 2.0 now",
    ]
    assert differing(now, INPUTS)[1] == "  hospital elm: not named now"
    assert differing(INPUTS, INPUTS) == []


@pytest.mark.parametrize("content", ["[]", "not json", '{"version": 9, "inputs": {}}'])
def test_a_folder_of_something_else_is_left_alone(content: str, tmp_path: Path) -> None:
    (tmp_path / "simulation.json").write_text(content)
    with pytest.raises(RunError) as caught:
        require_same(tmp_path, INPUTS)
    assert caught.value.code in ("run.folder-in-use", "run.unknown-version")
    assert (tmp_path / "simulation.json").read_text() == content
