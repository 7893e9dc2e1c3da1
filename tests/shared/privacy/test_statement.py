"""A statement: signed by its site, countersigned unread by nobody, honest in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from practice_patients import practice_settings
from practice_plan import plan_of, trained
from practice_statement import HASH, cost, predicate

from shared.errors import AuditError
from shared.privacy.statement import (
    NO_GUARANTEE,
    Artefact,
    Statement,
    countersign_statement,
    mechanism_of,
    open_statement,
    read_statement,
    sign_statement,
    verify_statement,
    write_statement,
)
from shared.signing.canonical import canonical_json
from shared.signing.envelope import Envelope, add_signature
from shared.signing.keys import SigningKey, create_key


@pytest.fixture
def keys(tmp_path: Path) -> tuple[SigningKey, SigningKey]:
    return create_key(tmp_path / "site.pem"), create_key(tmp_path / "coordinator.pem")


@pytest.fixture
def statement() -> Statement:
    return Statement(subject=(Artefact(name="update", digest={"sha256": HASH}),), predicate=predicate())


def test_a_statement_is_read_back_by_who_knows_the_sites_key(
    tmp_path: Path, statement: Statement, keys: tuple[SigningKey, SigningKey]
) -> None:
    site, coordinator = keys
    path = tmp_path / "statement.json"
    write_statement(path, sign_statement(statement, site))
    assert verify_statement(path, site.public_hex) == statement
    for wanted in ((coordinator.public_hex, None), (site.public_hex, coordinator.public_hex)):
        with pytest.raises(AuditError) as caught:
            verify_statement(path, *wanted)
        assert caught.value.code == "audit.signer-missing"
    write_statement(path, countersign_statement(read_statement(path), coordinator))
    assert verify_statement(path, site.public_hex, coordinator.public_hex) == statement


def test_nobody_countersigns_what_is_no_statement_or_is_not_genuine(
    statement: Statement, keys: tuple[SigningKey, SigningKey]
) -> None:
    site, coordinator = keys
    signed = sign_statement(statement, site)
    other = add_signature(Envelope(signed.payload_type, b"{}"), site)
    with pytest.raises(AuditError) as caught:
        countersign_statement(other, coordinator)
    assert caught.value.code == "audit.unreadable-statement"
    changed = json.loads(signed.payload)
    changed["predicate"]["cost"]["training_epsilon"] = 0.1
    forged = Envelope(signed.payload_type, canonical_json(changed), signed.signatures)
    with pytest.raises(AuditError) as caught:
        countersign_statement(forged, coordinator)
    assert caught.value.code == "audit.bad-signature"
    assert open_statement(signed) == statement


def test_who_trained_without_noise_cannot_state_a_guarantee_nor_who_did_not_deny_one() -> None:
    with pytest.raises(ValueError, match=NO_GUARANTEE):
        predicate(cost=cost(n_unprotected=1))
    with pytest.raises(ValueError, match=NO_GUARANTEE):
        predicate(guarantee=f"{NO_GUARANTEE}: by choice")
    predicate(guarantee=f"{NO_GUARANTEE}: by choice", cost=cost(n_unprotected=1))


def test_a_statement_without_caveats_or_of_another_adjacency_is_none() -> None:
    for changes in ({"caveats": ()}, {"adjacency": "replace"}, {"unit": "exam"}, {"version": 1}):
        with pytest.raises(ValueError, match=next(iter(changes))):
            predicate(**changes)


def test_a_mechanism_is_stated_with_every_step_and_only_to_who_trains() -> None:
    plan = plan_of(practice_settings("linear"), {"aster": 60}, external="birch")
    stage = trained(plan, rounds=4, local_steps=3)
    others = tuple(each for each in plan.stages if each.name != stage.name)
    stated = mechanism_of(plan.model_copy(update={"stages": (stage, *others)}), "training")
    assert stated is not None
    assert (stated.rounds, stated.steps, stated.sample_rate) == (4, 12, stage.sample_rate)
    assert mechanism_of(plan, "external") is None
