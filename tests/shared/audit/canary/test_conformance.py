"""The conformance battery on files: hidden rounds, shared noise, too few draws, and the command."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from audited_run import ROUNDS, found_audited, train_request
from table_site import TableSites
from typer.testing import CliRunner

from client.gate.ledger import Ledger
from client.gate.outbox import Outbox
from client.gate.register import export_register
from server.federation.folder import Home
from shared.audit.canary import conformance
from shared.audit.canary.conformance import conformance_findings, shared_noise_findings
from shared.audit.canary.records import (
    CommittedRegister,
    audited_stage,
    missing_findings,
    read_records,
)
from shared.audit.command import app
from shared.audit.finding import Finding
from shared.audit.recount.evidence import DepartedMessage, gather_evidence
from shared.audit.recount.outbox import largest_bytes
from shared.audit.recount.recounted import RecountedLedger
from shared.contract.plan import Plan, write_plan
from shared.errors import AuditError
from shared.privacy.accountant import epsilon_of
from shared.privacy.events import GaussianEvent
from shared.privacy.register_format import RegisterRecord, read_register, write_register
from shared.signing.keys import create_key

N_CANARIES, LOCAL_STEPS = 1000, 5


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TableSites:
    """Two rounds at site ``elm`` with canaries among its patients."""
    sites = found_audited(
        tmp_path_factory.mktemp("audited"),
        epsilon=3.0,
        canaries=N_CANARIES,
        sample_rate=1.0,
        local_steps=LOCAL_STEPS,
    )
    for round_ in range(1, ROUNDS + 1):
        sites.answer(train_request(sites, round_))
    site = sites.site()
    export_register(site, sites.plan, sites.folder / "register.npz")
    own = Ledger(site.folder / "ledger", site=site.name, key=site.key, clock=site.clock)
    own.export(sites.folder / "ledger.json", allowance=site.policy.allowance)
    return sites


@pytest.fixture(scope="module")
def record(trained: TableSites) -> CommittedRegister:
    (found,) = read_records(
        trained.plan,
        registers=[trained.folder / "register.npz"],
        ledgers=[trained.folder / "ledger.json"],
        site_keys={},
    )
    return found


def findings(trained: TableSites, record: CommittedRegister, **changes: object) -> dict[str, Finding]:
    changed = replace(record.register, **changes)  # type: ignore[arg-type]
    found = conformance_findings(changed, trained.plan, record.ledger.rows)
    return {finding.claim: finding for finding in found}


def test_a_correct_run_passes_every_claim_and_shows_what_it_measured(
    trained: TableSites, record: CommittedRegister
) -> None:
    found = findings(trained, record)
    assert {finding.verdict for finding in found.values()} == {"pass"}
    assert len(found) == 7
    promised = audited_stage(trained.plan).noise_multiplier
    noise = next(each for claim, each in found.items() if "standard deviation" in claim)
    assert noise.figures["noise_multiplier_found"] == pytest.approx(promised, rel=0.06)


@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_noise_of_another_size_than_promised_is_refuted_on_either_side(
    trained: TableSites, record: CommittedRegister, factor: float
) -> None:
    found = findings(trained, record, sums=record.register.sums * factor)
    noise = next(each for claim, each in found.items() if "standard deviation" in claim)
    assert noise.verdict == "fail"
    assert (float(noise.figures["z"]) < 0) == (factor < 1)


def test_coins_that_no_charge_names_were_not_committed_to(record: CommittedRegister) -> None:
    assert record.judge_commitment("canary").verdict == "pass"
    ledger = record.ledger
    unnamed = RecountedLedger(ledger.plan, ledger.site, ledger.rows[:1])
    found = CommittedRegister(record.register, unnamed).judge_commitment("canary")
    assert found.verdict == "fail"
    assert "0 of 0 charges" in found.because


def test_a_register_that_hides_a_round_is_refuted(
    trained: TableSites, record: CommittedRegister
) -> None:
    register = record.register
    kept = register.rounds == 1
    found = findings(
        trained,
        record,
        sums=register.sums[kept],
        rounds=register.rounds[kept],
        places=register.places[kept],
    )
    assert found["The register holds every step that was charged."].verdict == "fail"


def test_sums_that_are_not_finite_are_not_called_examined(
    trained: TableSites, record: CommittedRegister
) -> None:
    found = findings(trained, record, sums=np.full_like(record.register.sums, np.nan))
    assert {finding.verdict for finding in found.values()} == {"pass", "not-run"}
    assert sum(finding.verdict == "not-run" for finding in found.values()) == 6


def test_too_few_canaries_are_not_called_examined(
    trained: TableSites, record: CommittedRegister
) -> None:
    register = record.register
    few = {name: getattr(register, name)[:, :50] for name in ("sums", "places")}
    found = findings(trained, record, coins=register.coins[:50], **few)
    assert sum(finding.verdict == "not-run" for finding in found.values()) == 6


def test_noise_that_two_sites_share_is_refuted_and_noise_of_their_own_is_not(
    record: CommittedRegister,
) -> None:
    draw = np.random.default_rng(5)

    def at(site: str, noise: np.ndarray) -> RegisterRecord:
        coins = draw.random(N_CANARIES) < 0.5
        order = np.array([draw.permutation(N_CANARIES + 40) for _ in range(steps)])
        laid = np.take_along_axis(noise, order[:, :N_CANARIES], axis=1)
        register = replace(record.register, site=site, coins=coins, length=N_CANARIES + 40)
        return replace(register, places=order[:, :N_CANARIES], sums=laid - 0.5 * coins)

    steps = len(record.register.rounds)
    common, own = draw.normal(size=(2, steps, N_CANARIES + 40))
    (shared_,) = shared_noise_findings([at("elm", common), at("fir", common)])
    (apart,) = shared_noise_findings([at("elm", common), at("fir", own)])
    assert (shared_.verdict, apart.verdict) == ("fail", "pass")
    assert shared_.site == "elm, fir"
    assert shared_noise_findings([at("elm", common)]) == []


def test_the_auditors_command_reads_the_files_and_exits_by_the_verdict(
    trained: TableSites, tmp_path: Path
) -> None:
    files = ["--register", trained.folder / "register.npz", "--ledger", trained.folder / "ledger.json"]
    plan = trained.folder / "coordinator" / "runs" / "cytology" / "plan.json"
    for method in ("conformance", "canary"):
        typed = [method, plan, *files, "--out", tmp_path / "findings", "--json"]
        result = CliRunner().invoke(app, [str(part) for part in typed])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["verdict"] == "pass"
        assert (tmp_path / "findings" / f"{method}.json").exists()


def test_what_a_site_exports_as_its_register_fills_the_bound_of_the_outbox(
    trained: TableSites, record: CommittedRegister
) -> None:
    site = trained.site()
    departures = Outbox(site.folder / "outbox", site.folder / "replies").show()
    (left,) = (each for each in departures if each.message == "RegisterRecord")
    (evidence,) = gather_evidence(trained.plan, ledgers=[trained.folder / "ledger.json"])
    most = largest_bytes(record.ledger, evidence, DepartedMessage.model_validate(asdict(left)))
    # 10 steps of 1000 canaries are 120 kB; beside them the bound has 32 KiB and room for one step more
    assert most is not None
    assert 120_000 < left.n_bytes < most < left.n_bytes + 50_000


def with_another_site(made: TableSites, folder: Path) -> tuple[Plan, dict[str, Path]]:
    """The plan with a second training site ``fir``, and a ledger of it in which nothing was charged."""
    entry = made.plan.entry("elm")
    key = create_key(folder / "fir.pem")
    second = entry.model_copy(update={"site": "fir", "public_key": key.public_hex})
    roster = [entry.model_dump() for entry in (*made.plan.roster, second)]
    plan = Plan.model_validate(made.plan.model_dump(mode="json") | {"roster": roster})
    ledger = Ledger(folder / "fir", site="fir", key=key, clock=made.site().clock)
    ledger.export(folder / "fir.json", allowance=made.site().policy.allowance)
    return plan, {"elm": made.folder / "ledger.json", "fir": folder / "fir.json"}


def test_a_training_site_without_a_register_is_not_examined(
    trained: TableSites, record: CommittedRegister, tmp_path: Path
) -> None:
    plan, _ = with_another_site(trained, tmp_path)
    for method in ("conformance", "canary"):
        (finding,) = missing_findings(plan, [record], method, claim="any")
        assert (finding.site, finding.verdict, finding.method) == ("fir", "not-run", method)
        assert "no register was handed over" in finding.because
    # the external site trains no canaries
    both = missing_findings(plan, [], "canary", claim="any")
    assert [finding.site for finding in both] == ["elm", "fir"]
    stages = tuple(
        stage.model_copy(update={"canaries": 0}) if stage.name == "train" else stage
        for stage in plan.stages
    )
    silent = plan.model_copy(update={"stages": stages})
    assert missing_findings(silent, [], "canary", claim="any") == []


def test_a_plan_without_noised_training_has_nothing_to_hold_a_register_to(
    trained: TableSites, record: CommittedRegister
) -> None:
    tables = trained.plan.model_copy(update={"stages": trained.plan.tables})
    with pytest.raises(AuditError, match="trains nothing, or without noise") as caught:
        conformance_findings(record.register, tables, record.ledger.rows)
    assert caught.value.code == "audit.nothing-noised"


@pytest.mark.parametrize("method", ["conformance", "canary"])
def test_the_commands_say_whose_register_is_missing(
    trained: TableSites, tmp_path: Path, method: str
) -> None:
    plan, ledgers = with_another_site(trained, tmp_path)
    coordinator = Home(trained.folder / "coordinator").key()
    write_plan(tmp_path / "plan.json", plan, coordinator)
    register = replace(
        read_register(trained.folder / "register.npz"), plan_sha256=plan.sha256, site="elm"
    )
    write_register(tmp_path / "elm.npz", register)
    files = ["--register", tmp_path / "elm.npz"]
    for path in ledgers.values():
        files += ["--ledger", path]
    typed = [method, tmp_path / "plan.json", *files, "--out", tmp_path / "findings", "--json"]
    result = CliRunner().invoke(app, [str(part) for part in typed])
    found = json.loads(result.stdout)["findings"]
    assert [(each["site"], each["because"]) for each in found if each["verdict"] == "not-run"] == [
        ("fir", "no register was handed over")
    ]


def test_one_register_is_not_taken_for_two(
    trained: TableSites, record: CommittedRegister, tmp_path: Path
) -> None:
    plan, ledgers = with_another_site(trained, tmp_path)
    own = replace(record.register, plan_sha256=plan.sha256)
    files = {"elm": own, "again": replace(own, salt=bytes(32)), "copy": replace(own, site="fir")}
    files["salted"] = replace(own, site="fir", salt=bytes(32))
    files["silent"] = replace(own, site="fir", sums=own.sums + 1)
    files["own"] = replace(own, site="fir", salt=bytes(32), sums=own.sums + 1)
    for name, register in files.items():
        write_register(tmp_path / f"{name}.npz", register)

    def read(*names: str) -> list[CommittedRegister]:
        registers = [tmp_path / f"{name}.npz" for name in names]
        return read_records(plan, registers=registers, ledgers=list(ledgers.values()), site_keys={})

    for second in ("elm", "again"):
        with pytest.raises(AuditError, match="two files are of site elm") as caught:
            read("elm", second)
        assert caught.value.code == "audit.twice"
    for second in ("copy", "salted", "silent"):
        with pytest.raises(AuditError, match="registers of elm and fir are one") as caught:
            read("elm", second)
        assert caught.value.code == "audit.copied-register"
    assert [each.register.site for each in read("elm", "own")] == ["elm", "fir"]
    # sites that were never asked have no sums, and that is nothing in common
    idle = {name: getattr(own, name)[:0] for name in ("sums", "rounds", "places")}
    write_register(tmp_path / "elm.npz", replace(own, **idle))
    write_register(tmp_path / "own.npz", replace(files["own"], **idle))
    assert len(read("elm", "own")) == 2


NOISE, CLIP, RATE = 2.0, 0.5, 0.25
STAGE = SimpleNamespace(noise_multiplier=NOISE, clip_norm=CLIP, sample_rate=RATE, name="train")


def recorded(sums: np.ndarray, coins: np.ndarray, site: str = "elm") -> RegisterRecord:
    return RegisterRecord(
        site=site,
        plan_sha256="a" * 64,
        salt=b"s",
        coins=coins,
        sums=np.asarray(sums, dtype=np.float64),
        rounds=np.arange(1, len(sums) + 1),
        places=np.tile(np.arange(len(coins)), (len(sums), 1)),
        length=len(coins),
    )


def test_spread_and_mean_of_noise_are_taken_from_who_stayed_out_in_promised_deviations() -> None:
    # promised SD 1: of ten draws of who stayed out eight are ±2 and two 0
    coins = np.array([False] * 5 + [True])
    sums = np.array([[2.0, 2, 2, -2, 0, 99], [2.0, 2, 2, -2, 0, 99]])
    z, figures = conformance._spread(recorded(sums, coins), STAGE)
    assert z == pytest.approx((32 - 10) / math.sqrt(20))
    assert figures == {"noise_multiplier_found": pytest.approx(math.sqrt(3.2) * NOISE), "draws": 10}
    z, figures = conformance._mean(recorded(sums, coins), STAGE)
    assert z == pytest.approx(8 / math.sqrt(10))
    assert figures == {"mean_in_sd": pytest.approx(0.8)}


def test_what_a_canary_writes_is_held_to_the_share_of_steps_it_takes_part_in() -> None:
    coins = np.array([True, True, False])
    sums = np.array([[-1.0, 0.0, 9], [-0.5, 0.5, 9]])  # written: 2, 0, 1 and −1 clip norms
    z, figures = conformance._contribution(recorded(sums, coins), STAGE)
    variance = RATE * (1 - RATE) + NOISE**2
    assert z == pytest.approx((0.5 - RATE) / math.sqrt(variance / 4))
    assert figures == {"contribution_promised": RATE, "contribution_found": 0.5}


def test_chance_is_looked_for_in_what_a_canary_writes_into_a_pass_over_everybody() -> None:
    # a pass is four steps: nine steps are two passes, the ninth is left out
    written = np.array([1.0, 0, 2, 0, 0, 1, 0, -1, 50])
    record = recorded(-CLIP * written[:, None], np.array([True]))
    record = replace(record, rounds=np.ones(9, dtype=np.int64))
    z, figures = conformance._independence(record, STAGE)
    promised = 4 * (RATE * (1 - RATE) + NOISE**2)
    squares = ((3 - 1) ** 2 + (0 - 1) ** 2) / promised
    assert z == pytest.approx((squares - 2) / math.sqrt(2 * 2))
    assert figures == {
        "variance_promised": pytest.approx(promised),
        "variance_found": pytest.approx(2.5),
        "steps_per_pass": 4,
        "passes": 2,
    }
    halved = replace(record, rounds=np.repeat([1, 2], [5, 4]))
    _, figures = conformance._independence(halved, STAGE)
    squares = ((3 - 1) ** 2 + (1 - 1 + 50 - 1) ** 2) / promised
    assert figures["variance_found"] == pytest.approx(promised * squares / 2), "a pass begins anew"
    short = recorded(-CLIP * written[:3, None], np.array([True]))
    z, figures = conformance._independence(short, STAGE)
    assert (figures["steps_per_pass"], figures["passes"]) == (1, 3), "of less than a pass each step"
    one = promised / 4
    assert z == pytest.approx((((0.75**2 + 0.25**2 + 1.75**2) / one) - 3) / math.sqrt(6))


def shuffled(noise: np.ndarray, n_register: int, seed: int = 8) -> RegisterRecord:
    """A register of ``n_register`` numbers at places of their own in each draw [steps, length]."""
    draw = np.random.default_rng(seed)
    places = np.array([draw.permutation(noise.shape[1])[:n_register] for _ in noise])
    sums = np.take_along_axis(noise, places, axis=1)
    whole = recorded(sums, np.zeros(n_register, dtype=bool))
    return replace(whole, places=places, length=noise.shape[1])


def test_noise_used_before_is_found_place_by_place_of_the_draw() -> None:
    noise = np.random.default_rng(3).normal(size=(3, 1000))
    noise[2] = noise[0]
    record = shuffled(noise, 800)
    z, figures = conformance._reuse(record, STAGE)
    assert figures == {"z_two_steps": z, "pairs": 3}
    common = np.intersect1d(record.places[0], record.places[2])
    scaled = noise / record.sums.std()
    assert z == pytest.approx((scaled[0, common] @ scaled[2, common]) / math.sqrt(len(common)))
    fresh = np.random.default_rng(4).normal(size=(3, 1000))
    assert conformance._reuse(shuffled(fresh, 800), STAGE)[0] < 5
    few = conformance._reuse(shuffled(noise, 300), STAGE)[0]
    assert few == 0, "of 90 common places nothing is said"


def test_a_draw_that_repeats_its_neighbour_or_the_half_before_is_refuted() -> None:
    draw = np.random.default_rng(5)
    halves = np.tile(draw.normal(size=(10, 501)), (1, 2))[:, :1001]
    z, figures = conformance._repeats(shuffled(halves, 900), STAGE)
    assert z == figures["z_halves"] > 40
    assert abs(figures["z_neighbours"]) < 6
    twice = np.repeat(draw.normal(size=(10, 500)), 2, axis=1)
    z, figures = conformance._repeats(shuffled(twice, 900), STAGE)
    assert z == figures["z_neighbours"] > 6
    z, figures = conformance._repeats(shuffled(draw.normal(size=(10, 1001)), 900), STAGE)
    assert abs(z) < 5
    assert figures["pairs_of_draws"] > 400


def test_noise_of_two_sites_is_compared_where_the_canaries_of_both_stayed_out() -> None:
    draw = np.random.default_rng(6)
    noise = draw.normal(size=(5, 1000))
    coins = np.arange(1000) < 400, np.arange(1000) >= 900
    first, second = (recorded(noise, each, site) for each, site in zip(coins, "ab", strict=True))
    [found] = shared_noise_findings([first, second])
    assert (found.site, found.verdict) == ("a, b", "fail")
    assert found.figures["draws"] == 5 * 500
    scale = noise[:, 400:].std() * noise[:, :900].std()
    both = noise[:, 400:900] @ noise[:, 400:900].T
    assert found.figures["z"] == pytest.approx(np.abs(both).max() / scale / math.sqrt(500))
    third = recorded(draw.normal(size=(4, 1000)), coins[0], "c")
    verdicts = [each.verdict for each in shared_noise_findings([first, second, third])]
    assert verdicts == ["fail", "pass", "pass"]
    few = recorded(noise[:3], coins[1], "d")
    [found] = shared_noise_findings([first, few])
    assert (found.verdict, found.figures["draws"]) == ("not-run", 3 * 500)


@pytest.mark.parametrize(
    ("z", "verdict"),
    [(6.0, "pass"), (-6.0, "pass"), (6.01, "fail"), (-6.01, "fail")],
)
def test_a_claim_is_refuted_beyond_six_on_either_side(z: float, verdict: str) -> None:
    assert conformance._judge("elm", "claim", z, {}).verdict == verdict


def test_what_a_register_claims_is_the_epsilon_of_training_alone() -> None:
    event = GaussianEvent(noise_multiplier=2.0, steps=3)
    rows = [
        SimpleNamespace(purpose="train", event=event, canaries_sha256="c"),
        SimpleNamespace(purpose="evaluate.internal", event=event, canaries_sha256=""),
        SimpleNamespace(purpose="train", event=None, canaries_sha256="c"),
    ]
    plan = SimpleNamespace(predicted=SimpleNamespace(delta=1e-5))
    register = SimpleNamespace(site="elm", commitment="c", coins=np.zeros(40))
    found = CommittedRegister(register, SimpleNamespace(charges=rows, plan=plan))
    assert found.claimed_epsilon == epsilon_of([event], 1e-5)
    judged = found.judge_commitment("canary")
    assert (judged.verdict, judged.figures) == ("pass", {"charges": 2, "canaries": 40})
    rows[2].canaries_sha256 = "other"
    judged = found.judge_commitment("canary")
    assert judged.verdict == "fail"
    assert judged.because.startswith("1 of 2 charges")
