"""An enrolment is believed to be whose key has signed it, for the site that it names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client.site.enrolment import enrolled_key
from shared.errors import PlanError
from shared.signing.canonical import canonical_json
from shared.signing.keys import create_key


def written(path: Path, **changes: str) -> tuple[Path, str]:
    """An enrolment of aster, truly signed unless it was changed afterwards, and the key in it."""
    key = create_key(path / "key.pem")
    content = {"site": "aster", "coordinator_key": key.public_hex, "role": "training"}
    signed = content | {"signature": key.sign(canonical_json(content))} | changes
    (path / "aster.json").write_text(json.dumps(signed))
    return path / "aster.json", key.public_hex


def test_the_key_of_an_enrolment_is_the_one_that_has_signed_it(tmp_path: Path) -> None:
    path, key = written(tmp_path)
    assert enrolled_key(path, site="aster") == key


@pytest.mark.parametrize(
    "changes",
    [{"coordinator_key": "0" * 64}, {"role": "external"}, {"site": "birch"}, {"signature": ""}],
)
def test_an_enrolment_that_was_changed_is_refused(tmp_path: Path, changes: dict[str, str]) -> None:
    path, _ = written(tmp_path, **changes)
    with pytest.raises(PlanError) as caught:
        enrolled_key(path, site=changes.get("site", "aster"))
    assert caught.value.code == "plan.forged-enrolment"


def test_an_enrolment_of_another_site_is_refused(tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    with pytest.raises(PlanError) as caught:
        enrolled_key(path, site="birch")
    assert caught.value.code == "plan.forged-enrolment"


@pytest.mark.parametrize("text", ["", "[]", "{}", "3", '{"signature": ""}'])
def test_another_file_is_no_enrolment(tmp_path: Path, text: str) -> None:
    (tmp_path / "aster.json").write_text(text)
    with pytest.raises(PlanError) as caught:
        enrolled_key(tmp_path / "aster.json", site="aster")
    assert caught.value.code == "plan.unreadable-enrolment"
