"""Files of hospitals that measured offline, kept in a run; how they are checked: ``rounds``."""

from __future__ import annotations

from pathlib import Path

import pytest
from practice_plan import planned_locally, started_release
from practice_report import found_run

from server.run.external import keep_external, read_comparisons, read_externals
from shared.errors import ProtocolError, RunError
from shared.stages.external_file import ExternalFile


def of_hospital(*, is_local: bool) -> ExternalFile:
    plan = planned_locally(started_release())
    if not is_local:
        plan = plan.model_copy(update={"release": None})
    return ExternalFile(plan, None, None)  # type: ignore[arg-type]


def test_one_file_of_a_hospital_is_kept_and_the_same_again_is_not_new(tmp_path: Path) -> None:
    store = found_run(tmp_path)
    assert read_externals(store) == read_comparisons(store) == ()
    file = of_hospital(is_local=False)
    assert keep_external(store, file, b"one")
    assert not keep_external(store, file, b"one")
    with pytest.raises(RunError) as caught:
        keep_external(store, file, b"two")
    assert caught.value.code == "run.external-exists"
    assert keep_external(store, of_hospital(is_local=True), b"two"), "its comparison is another file"
    with pytest.raises(ProtocolError):  # what lies here is read as a file, never passed over
        read_externals(store)
