"""Files of hospitals that measured offline, kept in a run; how they are checked: ``rounds``."""

from __future__ import annotations

from pathlib import Path

import pytest
from practice_report import found_run

from server.run.external import keep_external, read_externals
from shared.errors import ProtocolError, RunError


def test_one_file_of_a_hospital_is_kept_and_the_same_again_is_not_new(tmp_path: Path) -> None:
    store = found_run(tmp_path)
    assert read_externals(store) == ()
    assert keep_external(store, "kay", b"one")
    assert not keep_external(store, "kay", b"one")
    with pytest.raises(RunError) as caught:
        keep_external(store, "kay", b"two")
    assert caught.value.code == "run.external-exists"
    with pytest.raises(ProtocolError):  # what lies here is read as a file, never passed over
        read_externals(store)
