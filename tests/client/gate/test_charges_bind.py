"""Charges bind people: no way of taking the same people in again gives them a fresh budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from practice_intake import ingest_with
from practice_site import clock
from table_federation import write_table
from table_site import ROWS, TableSites

from client.intake.ingest import IntakeReport
from server.federation.folder import Home
from server.federation.plan import draft_plan, save_plan
from shared.contract.plan import Plan
from shared.errors import IntakeError, PrivacyError
from shared.exam.schema import CohortSchema
from shared.model.build import build_model
from shared.model.weights import flatten_weights
from shared.privacy.filter import Allowance

N_ROUNDS = 3
# People whom the site has not seen: as many as a declared size has places for.
FRESH = range(300, 430)


@dataclass(frozen=True)
class Spent:
    """A site that trained a whole run, with a lifetime cap that this run uses up."""

    sites: TableSites
    epsilon: float

    def ingest(
        self, rows: Sequence[int], *, schema: CohortSchema, name: str | None = None
    ) -> IntakeReport:
        """Take rows in under a schema, as the hospital would."""
        archives = self.sites.folder / "again"
        archive = archives / str(len(list(archives.glob("*"))))
        write_table(archive / "clinical.csv", rows)
        site = self.sites.site()
        return ingest_with(
            archive,
            store=site.cohorts,
            schema=schema,
            profile=site.settings.profile,
            pseudonyms=site.pseudonyms,
            linkage=site.linkage,
            clock=clock,
            name=name,
            allows_fewer=True,
        )

    def plan(self, run: str, schema: CohortSchema) -> Plan:
        """Another approved plan over a cohort."""
        home, before = Home(self.sites.folder / "coordinator"), self.sites.plan
        drafted = draft_plan(
            self.sites.asked.model_copy(update={"cohort": schema}),
            home.active_sites(),
            run=run,
            coordinator_key=before.coordinator_key,
            now=clock(),
        )
        save_plan(home, drafted)
        approvals = self.sites.site().approvals
        read = approvals.import_plan(home.run_folder(run) / "plan.json")
        approvals.decide(read, "approved", by="Ada Lovelace", now=clock())
        return drafted

    def train(self, plan: Plan, round_number: int = 1) -> None:
        """Ask for a round."""
        initial = flatten_weights(build_model(plan.settings, generator_seed=plan.settings.seed))
        request = replace(
            self.sites.train_request(), plan_sha256=plan.sha256, round=round_number, vector=initial
        )
        self.sites.answer(request)

    def spent_by(self, patients: Sequence[str]) -> float:
        """Lifetime ε of the dearest of them."""
        allowance: Allowance = self.sites.site().policy.allowance
        return self.sites.gate().ledger.budget(patients, allowance=allowance).epsilon_spent


@pytest.fixture
def spent(sites: TableSites) -> Spent:
    epsilon = sites.plan.predicted.training_epsilon
    assert epsilon is not None
    sites.change_policy(epsilon_per_run=epsilon + 0.001, epsilon_lifetime=epsilon + 0.001)
    made = Spent(sites, epsilon)
    for number in range(1, N_ROUNDS + 1):
        made.train(sites.plan, number)
    assert made.spent_by(sites.split("train").arrays.patients) == pytest.approx(epsilon, abs=1e-6)
    return made


def second_schema(schema: CohortSchema) -> CohortSchema:
    """Another name, fewer fields, for the same table."""
    return schema.model_copy(update={"name": "cytology_small", "fields": schema.fields[:6]})


def refused(spent: Spent, plan: Plan) -> str:
    before = spent.sites.charges()
    with pytest.raises(PrivacyError) as caught:
        spent.train(plan)
    assert spent.sites.charges() == before
    return caught.value.code


WAYS = {
    "the same files again": (ROWS["elm"], "same"),
    "the same people in another order": (list(ROWS["elm"])[::-1], "same"),
    "a new version with more people": ([*ROWS["elm"], *FRESH[:15]], "same"),
    "a new version with half of them": (ROWS["elm"][:90], "same"),
    "a second schema over the same people": (ROWS["elm"], "second"),
    "a second schema, and ten of them among new ones": ([*ROWS["elm"][:10], *FRESH], "second"),
    "a renamed cohort": (ROWS["elm"], "renamed"),
}


@pytest.mark.parametrize("way", WAYS)
def test_nobody_gets_a_fresh_budget_by_being_taken_in_again(spent: Spent, way: str) -> None:
    rows, kind = WAYS[way]
    schema = spent.sites.plan.settings.cohort
    if kind == "second":
        schema = second_schema(schema)
    elif kind == "renamed":
        schema = schema.model_copy(update={"name": "another_name"})
    charged = set(spent.sites.split("train").arrays.patients)
    report = spent.ingest(rows, schema=schema)
    again = set(report.cohort.patients("train"))
    assert again & charged
    assert refused(spent, spent.plan("again", schema)) == "privacy.budget-exhausted"
    assert spent.spent_by(sorted(again)) == pytest.approx(spent.epsilon, abs=1e-6)


def test_other_people_under_a_second_schema_have_their_own_budget(spent: Spent) -> None:
    # the control: what refuses above is the people, not the schema or the plan
    schema = second_schema(spent.sites.plan.settings.cohort)
    report = spent.ingest(FRESH, schema=schema)
    fresh = sorted(report.cohort.patients("train"))
    assert spent.spent_by(fresh) == 0
    spent.train(spent.plan("fresh", schema))
    assert 0 < spent.spent_by(fresh) < spent.epsilon


def test_one_person_of_the_old_cohort_is_enough_to_be_refused(spent: Spent) -> None:
    schema = second_schema(spent.sites.plan.settings.cohort)
    site, charged = spent.sites.site(), spent.sites.split("train").arrays.patients
    identity = site.linkage.identity_of(charged[0])
    assert identity is not None
    report = spent.ingest([int(identity.patient_id[1:]), *FRESH], schema=schema)
    assert len(set(report.cohort.patients("train")) & set(charged)) == 1
    assert refused(spent, spent.plan("again", schema)) == "privacy.budget-exhausted"


def test_the_held_out_people_pay_once_for_their_table_whatever_the_cohort_is_called(
    spent: Spent,
) -> None:
    # trained and held-out people are apart, so a table still fits the cap; a second one does not
    sites = spent.sites
    sites.answer(sites.measure_request())
    schema = sites.plan.settings.cohort.model_copy(update={"name": "another_name"})
    spent.ingest(ROWS["elm"], schema=schema)
    again = sites.measure_request(plan_sha256=spent.plan("again", schema).sha256)
    assert sites.refused(again) == "privacy.budget-exhausted"


def test_another_issuer_in_the_profile_makes_nobody_a_new_person(spent: Spent) -> None:
    sites = spent.sites
    path = sites.site().folder / "site.yaml"
    content = yaml.safe_load(path.read_text())
    schema = sites.plan.settings.cohort
    before = set(sites.split(None).arrays.patients)

    def name_issuer(issuer: str) -> None:
        content["profile"]["issuer"] = issuer
        path.write_text(yaml.safe_dump(content))

    name_issuer("ELM-HOSPITAL")  # named late, to keep foreign films out
    report = spent.ingest(ROWS["elm"], schema=schema)
    assert set(report.cohort.patients()) == before
    assert refused(spent, spent.plan("again", schema)) == "privacy.budget-exhausted"


def test_an_issuer_that_was_named_cannot_be_exchanged(spent: Spent, tmp_path: Path) -> None:
    site = spent.sites.site()
    archive = tmp_path / "archive"
    write_table(archive / "clinical.csv", FRESH)
    arguments = {
        "store": tmp_path / "cohorts",
        "schema": spent.sites.plan.settings.cohort,
        "pseudonyms": site.pseudonyms,
        "linkage": type(site.linkage)(tmp_path / "linkage.bin", site.pseudonyms),
        "clock": clock,
    }
    named = site.settings.profile.model_copy(update={"issuer": "ELM"})
    ingest_with(archive, profile=named, **arguments)  # type: ignore[arg-type]
    for issuer in ("HOP", ""):
        other = named.model_copy(update={"issuer": issuer})
        with pytest.raises(IntakeError) as caught:
            ingest_with(archive, profile=other, **arguments)  # type: ignore[arg-type]
        assert caught.value.code == "intake.issuer-changed"


def test_a_lost_pseudonym_key_stops_the_intake_instead_of_renaming_everybody(spent: Spent) -> None:
    key = spent.sites.site().folder / "keys" / "pseudonym.key"
    key.chmod(0o600)
    key.write_bytes(b"\x09" * 32)
    with pytest.raises(IntakeError) as caught:
        spent.ingest(ROWS["elm"], schema=spent.sites.plan.settings.cohort)
    assert caught.value.code == "intake.unreadable-linkage"
