"""Loose ends between two runs of real sites: heads of validations, rotated keys, signed statements."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from table_federation import NOW, found_tables, table_settings, write_table
from typer.testing import CliRunner

from client.gate.key_rotation import rotate_key
from client.gate.ledger import Ledger
from client.gate.statement import make_statement, state_run
from client.intake.accrue import accept_lock
from client.site.folder import Site, open_site
from server.command.app import app
from server.engines.launch import launch_stage
from server.federation.folder import Home, accept_key
from server.federation.plan import draft_plan, save_plan
from server.run.folder import RunStore, open_run
from server.run.prepare import prepare
from server.run.release import make_release
from server.run.statements import countersign_site_statement
from shared.errors import OsteoFedError, RunError
from shared.privacy.ledger_format import LedgerRow
from shared.privacy.statement import (
    Artefact,
    PrivacyPredicate,
    Statement,
    sign_statement,
    verify_statement,
    write_statement,
)
from shared.signing.key_rotation import write_notice
from shared.signing.keys import create_key

pytestmark = pytest.mark.federation

ROWS = {"elm": range(150), "fir": range(150, 300), "hop": range(300, 400)}
BY = "Grace Hopper"
CHOSEN = ["federation.rounds=1", "federation.local_steps=1", "federation.learning_rate=0.5"]
Damage = Callable[[Statement], Statement]


@dataclass(frozen=True)
class Federation:
    folder: Path

    @property
    def home(self) -> Home:
        return Home(self.folder / "coordinator")

    @property
    def folders(self) -> dict[str, Path]:
        return {name: self.folder / "sites" / name for name in ROWS}

    def site(self, name: str = "elm") -> Site:
        return open_site(self.folders[name])

    def store(self, run: str = "cytology") -> RunStore:
        return open_run(self.home.run_folder(run))

    def ledger(self, name: str = "elm") -> Ledger:
        site = self.site(name)
        return Ledger(site.folder / "ledger", site=name, key=site.key, clock=site.clock)

    def begin(self, run: str) -> RunStore:
        """A new plan over the same sites, approved by each."""
        home, key = self.home, self.home.key().public_hex
        settings = table_settings(self.folder, CHOSEN)
        plan = draft_plan(settings, home.active_sites(), run=run, coordinator_key=key, now=NOW)
        save_plan(home, plan)
        for name in ROWS:
            approvals = self.site(name).approvals
            read = approvals.import_plan(home.run_folder(run) / "plan.json")
            approvals.decide(read, "approved", by=BY, now=NOW)
        return prepare(home, run)

    def launch(self, store: RunStore, *stages: str) -> None:
        for stage in stages:
            launch_stage(store, stage, site_folders=self.folders)
            if stage == "train":
                make_release(store, self.home.key())

    def outcome(self, name: str, purpose: str, run: str = "cytology") -> LedgerRow:
        rows = self.ledger(name).show()
        return next(
            row for row in rows if (row.kind, row.purpose, row.run) == ("outcome", purpose, run)
        )


def keep(folder: Path) -> Callable[[], None]:
    """A snapshot of a site's ledger, its witness and its stored replies; call it to put it back."""
    names = ("ledger", "ledger-witness.json", "replies", "outbox")
    copy = folder.with_name(f"{folder.name}-snapshot")
    shutil.copytree(folder, copy)

    def put_back() -> None:
        for name in names:
            shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
            if (copy / name).exists():  # nothing had left before
                (copy / name).rename(folder / name)

    return put_back


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """One round, trained and not validated; to be looked at only."""
    folder = tmp_path_factory.mktemp("made")
    archives = {name: folder / "archives" / name for name in ROWS}
    for name, archive in archives.items():
        write_table(archive / "clinical.csv", ROWS[name])
    store, _ = found_tables(folder, archives, external=["hop"], overrides=CHOSEN)
    made = Federation(folder)
    for name in ROWS:
        policy = made.folders[name] / "policy.yaml"
        policy.write_text(
            policy.read_text().replace("epsilon_lifetime: 10.0", "epsilon_lifetime: 30.0")
        )
    made.launch(store, "train")
    return made


@pytest.fixture(scope="module")
def validated(made: Federation, tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """The same after its validations; to be looked at only."""
    folder = tmp_path_factory.mktemp("validated") / "copy"
    shutil.copytree(made.folder, folder)
    copy = Federation(folder)
    copy.launch(copy.store(), "internal", "external")
    return copy


def copied(made: Federation, folder: Path) -> Federation:
    shutil.copytree(made.folder, folder / "copy")
    return Federation(folder / "copy")


def countersigned(federation: Federation, name: str) -> set[str]:
    return {each.head_sha256 for each in federation.ledger(name).countersignatures()}


def test_the_head_of_a_validation_is_countersigned_at_the_next_contact(
    validated: Federation, tmp_path: Path
) -> None:
    federation = copied(validated, tmp_path)
    trained, measured, external = (
        federation.outcome("elm", "train").sha256,
        federation.outcome("elm", "evaluate.internal").sha256,
        federation.outcome("hop", "evaluate.external").sha256,
    )
    assert countersigned(federation, "elm") == {trained}, "by the request for the internal table"
    assert countersigned(federation, "hop") == set()
    after = federation.begin("after")
    federation.launch(after, "train", "external")
    assert countersigned(federation, "elm") == {trained, measured}
    assert countersigned(federation, "hop") == {external}


def test_a_ledger_rolled_back_to_before_a_validation_is_noticed(
    made: Federation, tmp_path: Path
) -> None:
    federation = copied(made, tmp_path)
    snapshots = [keep(federation.folders[name]) for name in ("elm", "hop")]
    federation.launch(federation.store(), "internal", "external")
    for put_back in snapshots:
        put_back()
    assert not [row for row in federation.ledger("elm").show() if row.purpose.startswith("evaluate")]
    after = federation.begin("after")
    with pytest.raises(RunError):  # a required site is missing in the first round
        federation.launch(after, "train")
    assert ("elm", "ledger.behind") in {(event.site, event.code) for event in after.events()}
    # the external site never trains: its own next contact is the next validation
    store = federation.store()
    shutil.rmtree(store.folder / "replies" / "external")
    with pytest.raises(RunError, match=r"hop \(ledger\.behind\)"):
        federation.launch(store, "external")
    assert store.results("external").rejected == {"hop": "ledger.behind"}


def test_a_site_that_cannot_measure_yet_keeps_the_head_too(
    validated: Federation, tmp_path: Path
) -> None:
    federation = copied(validated, tmp_path)
    store = federation.store()
    arguments = ["lock", store.plan.run, "--days", "30", "--home", str(federation.home.folder)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    for name in ROWS:
        accept_lock(federation.site(name), store.lock_file, by="Ada Lovelace")
    measured = federation.outcome("elm", "evaluate.internal").sha256
    federation.launch(store, "prospective")
    assert store.results("prospective").accepted["elm"].reply.status == "waiting"
    assert measured in countersigned(federation, "elm")


def test_a_site_with_a_rotated_key_trains_under_a_new_plan(
    validated: Federation, tmp_path: Path
) -> None:
    federation = copied(validated, tmp_path)
    before = {entry.site: entry for entry in federation.home.active_sites()}
    rotation, notice = rotate_key(federation.site("elm"), by=BY)
    arguments = ["accept-key", str(notice), "--home", str(federation.home.folder), "--json"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["key"] == rotation.new_key
    entry = next(each for each in federation.home.active_sites() if each.site == "elm")
    assert entry.former_keys == (before["elm"].public_key,)
    assert entry == before["elm"].model_copy(
        update={"public_key": rotation.new_key, "former_keys": entry.former_keys}
    )
    kept = federation.home.folder / "rotations" / "elm" / f"{rotation.old_key}.json"
    assert kept.read_bytes() == notice.read_bytes()
    after = federation.begin("after")
    assert after.plan.entry("elm").public_key == rotation.new_key
    federation.launch(after, "train")
    assert {part.site for part in after.training.last_committed().contributions} == {"elm", "fir"}
    outcome = federation.outcome("elm", "train", "after")
    assert outcome.public_key == rotation.new_key
    federation.ledger("elm").verify()


def test_a_notice_that_does_not_start_from_the_enrolled_key_changes_nothing(
    validated: Federation, tmp_path: Path
) -> None:
    federation = copied(validated, tmp_path)
    home, site = federation.home, federation.site("elm")
    rotation, notice = rotate_key(site, by=BY)
    new = federation.site("elm").key
    stranger, forged = create_key(tmp_path / "stranger.pem"), tmp_path / "forged.json"

    def code_of(path: Path) -> str:
        registry = (home.folder / "sites.json").read_bytes()
        with pytest.raises(OsteoFedError) as caught:
            accept_key(home, path)
        assert (home.folder / "sites.json").read_bytes() == registry
        return caught.value.code

    theft = replace(rotation, old_key=stranger.public_hex)
    write_notice(forged, theft, old=stranger, new_signature=new.sign(theft.content))
    assert code_of(forged) == "ledger.forged-rotation"
    unknown = replace(rotation, site="oak")
    write_notice(forged, unknown, old=site.key, new_signature=new.sign(unknown.content))
    assert code_of(forged) == "ledger.forged-rotation"
    taken = federation.site("fir").key
    shared = replace(rotation, new_key=taken.public_hex)
    write_notice(forged, shared, old=site.key, new_signature=taken.sign(shared.content))
    assert code_of(forged) == "plan.key-in-use"
    forged.write_text("{}")
    assert code_of(forged) == "ledger.unreadable-rotation"
    accept_key(home, notice)
    assert code_of(notice) == "ledger.forged-rotation", "a notice counts once"
    back = replace(rotation, old_key=rotation.new_key, new_key=rotation.old_key)
    write_notice(forged, back, old=new, new_signature=site.key.sign(back.content))
    assert code_of(forged) == "plan.key-in-use", "a key that was given up does not come back"


def test_the_coordinator_signs_a_statement_that_fits_its_run(
    validated: Federation, tmp_path: Path
) -> None:
    home, plan = validated.home, validated.store().plan
    for name in ROWS:
        path = tmp_path / f"{name}.json"
        site = validated.site(name)
        write_statement(path, sign_statement(make_statement(site, "cytology"), site.key))
        arguments = ["countersign", str(path), "--home", str(home.folder), "--json"]
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        verify_statement(path, plan.entry(name).public_key, plan.coordinator_key)
        signed = path.read_bytes()
        countersign_site_statement(home, path)
        assert path.read_bytes() == signed, "twice is once"


def test_a_statement_signed_after_a_rotation_is_signed_by_the_coordinator_too(
    validated: Federation, tmp_path: Path
) -> None:
    federation = copied(validated, tmp_path)
    _, notice = rotate_key(federation.site("elm"), by=BY)
    path = tmp_path / "statement.json"
    state_run(federation.site("elm"), "cytology", path)
    with pytest.raises(OsteoFedError) as caught:
        countersign_site_statement(federation.home, path)
    assert caught.value.code == "audit.signer-missing"
    accept_key(federation.home, notice)
    countersign_site_statement(federation.home, path)
    key = federation.site("elm").key.public_hex
    verify_statement(path, key, federation.home.key().public_hex)


def changed(statement: Statement, **values: object) -> Statement:
    """Predicate with dotted fields changed, ``__`` for the dot."""
    content = statement.predicate.model_dump(mode="json")
    for name, value in values.items():
        *groups, last = name.split("__")
        place = content
        for group in groups:
            place = place[group]
        place[last] = value
    return statement.model_copy(update={"predicate": PrivacyPredicate.model_validate(content)})


def without(statement: Statement, channel: str, *, listed: bool = True) -> Statement:
    """A statement that forgets what left by a channel; ``listed``: also in the list of releases."""
    kept = [each for each in statement.predicate.releases if each.channel != channel]
    gone = {each.payload_sha256 for each in statement.predicate.releases} - {
        each.payload_sha256 for each in kept
    }
    subject = tuple(each for each in statement.subject if each.sha256 not in gone)
    shorter = statement.model_copy(update={"subject": subject})
    return changed(shorter, releases=[each.model_dump() for each in kept]) if listed else shorter


def releases(statement: Statement, **values: object) -> Statement:
    rows: Iterable[Mapping[str, object]] = (each.model_dump() for each in statement.predicate.releases)
    return changed(statement, releases=[row | values for row in rows])


def other_release(statement: Statement) -> Statement:
    named = Artefact(name="release", digest={"sha256": "a" * 64})
    kept = tuple(each for each in statement.subject if each.name != "release")
    return statement.model_copy(update={"subject": (*kept, named)})


def foreign_head(statement: Statement) -> Statement:
    seen = statement.predicate.ledger.countersigned
    assert seen is not None
    return changed(statement, ledger__countersigned__head_sha256="b" * 64)


UNFIT: dict[str, tuple[Damage, str]] = {
    "another run's name": (lambda it: changed(it, run="autumn"), "run is not as in plan"),
    "another role": (lambda it: changed(it, role="external"), "role is not as in plan"),
    "more patients declared": (
        lambda it: changed(it, declared_patients=9000), "declared patients is not"
    ),
    "more noise than planned": (
        lambda it: changed(it, mechanism__noise_multipliers=[99.0]), "noise multiplier is not"
    ),
    "no mechanism": (lambda it: changed(it, mechanism=None), "mechanism must be stated"),
    "a planned epsilon that was not": (
        lambda it: changed(it, cost__planned_epsilon=0.1), "planned epsilon 0.1"
    ),
    "a smaller training epsilon": (
        lambda it: changed(it, cost__training_epsilon=0.1), "training epsilon 0.1"
    ),
    "another delta": (lambda it: changed(it, cost__delta=1e-3), "delta 0.001"),
    "an update left out": (lambda it: without(it, "train"), "leaves out the reply of train, round 1"),
    "a table left out": (
        lambda it: without(it, "evaluate.internal"), "leaves out the reply of internal, round 1"
    ),
    "a subject left out": (
        lambda it: without(it, "train", listed=False), "subjects are not the releases"
    ),
    "a class that it was not": (
        lambda it: releases(it, release_class="governed"), "is of class dp, not governed"
    ),
    "another release": (other_release, "release that it names is not this run's"),
    "a head nobody countersigned": (foreign_head, "not countersigned by this coordinator"),
    "a ledger behind its countersigned head": (
        lambda it: changed(it, ledger__head_index=0), "behind the countersigned head"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_a_statement_that_does_not_fit_the_run_is_not_signed(
    validated: Federation, tmp_path: Path, name: str
) -> None:
    damage, because = UNFIT[name]
    site, path = validated.site("elm"), tmp_path / "statement.json"
    write_statement(path, sign_statement(damage(make_statement(site, "cytology")), site.key))
    before = path.read_bytes()
    with pytest.raises(OsteoFedError) as caught:
        countersign_site_statement(validated.home, path)
    assert caught.value.code == "audit.statement-unfit"
    assert because in caught.value.fact
    assert path.read_bytes() == before


def test_a_statement_of_an_unknown_run_or_site_or_by_another_key_is_not_signed(
    validated: Federation, tmp_path: Path
) -> None:
    site, path = validated.site("elm"), tmp_path / "statement.json"
    good = make_statement(site, "cytology")
    stranger = create_key(tmp_path / "stranger.pem")
    for statement, key, code in (
        (changed(good, plan_sha256="c" * 64), site.key, "audit.no-such-run"),
        (changed(good, site="oak"), site.key, "audit.unexpected-site"),
        (changed(good, site="fir"), site.key, "audit.signer-missing"),
        (good, stranger, "audit.signer-missing"),
    ):
        write_statement(path, sign_statement(statement, key))
        with pytest.raises(OsteoFedError) as caught:
            countersign_site_statement(validated.home, path)
        assert caught.value.code == code
