"""Plans, approvals and policies under which a hostile coordinator asks, each with the code it gets."""

from __future__ import annotations

from hostile_asking import (
    FORBIDDEN,
    Case,
    add_stage,
    approval_at,
    by_hand,
    measure,
    plan_changed_after_approval,
    plan_of_another_key,
    plan_that_was_only_sent,
    refused_later,
    set_in,
    signed_by_hop,
    train,
    under,
    unreadable_policy,
    with_approval,
    with_plan_file,
    with_policy,
    written_by_hand,
)

HOSTILE_PLANS: dict[str, Case] = {
    "a plan exchanged after approval": Case(plan_changed_after_approval, "plan.other-than-approved"),
    "a plan by another key, approval copied": Case(plan_of_another_key, "plan.forged-approval"),
    "a plan that was sent, not approved": Case(plan_that_was_only_sent, "plan.not-approved"),
    "epsilon above the cap": Case(
        under(set_in("privacy", noise_multiplier=1.0)), FORBIDDEN, "above the cap of 3 per run"
    ),
    "delta above the cap": Case(under(set_in("privacy", delta=1e-4)), FORBIDDEN, "delta 0.0001"),
    "too little noise": Case(under(set_in("privacy", noise_multiplier=0.99)), FORBIDDEN, "the floor"),
    "too little noise for any accountant": Case(
        under(set_in("privacy", noise_multiplier=0.01)), FORBIDDEN, "at least 0.3"
    ),
    "no noise, called dp": Case(
        written_by_hand(set_in("train", noise_multipliers=[0.0])), "plan.not-valid"
    ),
    "noise of the first round in every round, charged as more": Case(
        written_by_hand(set_in("train", noise_multipliers=[2.41, 99.0, 99.0])), "plan.not-valid"
    ),
    "a table of everybody where they trained": Case(
        under(stages=set_in("external", roles=["training"])),
        FORBIDDEN,
        "must not measure a release on the patients who trained it",
    ),
    "noise for fewer rounds than there are": Case(
        written_by_hand(set_in("train", noise_multipliers=[9.0, 9.0])), "plan.not-valid"
    ),
    "exact numbers from training": Case(
        written_by_hand(set_in("train", release_class="governed", noise_multipliers=[0.0])),
        "plan.not-valid",
    ),
    "exact counts of pairs of patients' values": Case(
        written_by_hand(
            add_stage(
                "internal",
                name="description",
                kind="description",
                release_class="governed",
                noise_multipliers=[0.0],
                has_second_moments=True,
            )
        ),
        "plan.not-valid",
    ),
    "two stages of one name": Case(written_by_hand(add_stage("internal")), "plan.not-valid"),
    "a stage of a kind that nobody knows": Case(
        written_by_hand(set_in("internal", kind="everything")), "plan.not-valid"
    ),
    "a table of those who trained": Case(
        under(stages=add_stage("internal", name="again", patients="train")),
        FORBIDDEN,
        "must not measure a release on the patients who trained it",
    ),
    "a second training that the cost leaves out": Case(
        under(stages=add_stage("train", name="again")), FORBIDDEN, "above the cap of 3 per run"
    ),
    "training by the name of a table, where only tables are allowed": Case(
        written_by_hand(
            add_stage("train", name="external_again", roles=["external"], patients="everybody")
        ),
        "plan.not-valid",
    ),
    "training where only tables are allowed": Case(
        with_policy(train, allowed=["evaluate.internal"]), FORBIDDEN, "train is not allowed here"
    ),
    "privacy off, nothing clipped": Case(
        under(set_in("privacy", mode="off", noise_multiplier=0.0)), FORBIDDEN, "privacy is off"
    ),
    "a cost stated too low": Case(
        under(lie={"training_epsilon": 0.1}), FORBIDDEN, "does not state its true cost"
    ),
    "a validation cost stated too low": Case(
        under(lie={"validation_epsilon": 0.1}), FORBIDDEN, "does not state its true cost"
    ),
    "less noise on the table than stated": Case(
        under(stages=set_in("internal", noise_multipliers=[1.3])),
        FORBIDDEN,
        "does not state its true cost",
    ),
    "a group of patients left out of the cost": Case(
        under(lie={"splits": []}), FORBIDDEN, "does not state its true cost"
    ),
    "another unit of privacy": Case(
        under(lie={"mechanism": "Gaussian on images"}), FORBIDDEN, "does not state its true cost"
    ),
    "a table dearer than the cap": Case(
        under(set_in("validation", epsilon=8.0)), FORBIDDEN, "validation costs epsilon"
    ),
    "amplification by sampling that the cost leaves out": Case(
        under(set_in("privacy", sample_rate=0.1), lie={"training_epsilon": 0.01}),
        FORBIDDEN,
        "does not state its true cost",
    ),
    "sampling that costs more than the cap, stated truly": Case(
        under(set_in("privacy", sample_rate=0.9, noise_multiplier=1.0)),
        FORBIDDEN,
        "above the cap of 3 per run",
    ),
    "more canaries than the hospital has memory for": Case(
        under(set_in("privacy", canaries=6000)), FORBIDDEN, "6000 canaries are more than the 5000"
    ),
    "canaries where none are allowed": Case(
        with_policy(under(set_in("privacy", canaries=10)), maximum_canaries=0),
        FORBIDDEN,
        "10 canaries are more than the 0",
    ),
    "a bound that bounds nothing": Case(
        under(set_in("privacy", update_norm_max=1e9)), FORBIDDEN, "bounds nothing"
    ),
    "rounds without number": Case(written_by_hand(set_in("train", rounds=None)), "plan.not-valid"),
    "an update without a bound": Case(
        written_by_hand(set_in("train", update_norm_max=None)), "plan.not-valid"
    ),
    "ten thousand rounds": Case(
        under(set_in("federation", rounds=10_000)), FORBIDDEN, "above the cap of 3 per run"
    ),
    "exact numbers without permission": Case(
        under(set_in("validation", release_class="governed")), FORBIDDEN, "governed releases"
    ),
    "exact numbers from single patients": Case(
        with_policy(
            under(set_in("validation", release_class="governed", minimum_cell=1)),
            allows_governed=True,
            governed_approved_by="Ada Byron",
        ),
        FORBIDDEN,
        "minimum cell 1 is below",
    ),
    "prospective tables of one patient": Case(
        under(set_in("validation", prospective_patients=1)),
        FORBIDDEN,
        "prospective_patients 1 is below",
    ),
    "a task that is not allowed": Case(
        with_policy(train, allowed_tasks=["osteoporosis"]), FORBIDDEN, "task malignancy"
    ),
    "a smaller declared size": Case(
        under(own={"declared_patients": 1}), "plan.wrong-entry", "declares 1 patients"
    ),
    "another key in the site's name": Case(
        under(own={"public_key": "7" * 64}), "plan.wrong-entry", "names key 777777777777"
    ),
    "a roster without the site": Case(under(own={"site": "elmo"}), "plan.not-on-roster"),
    "a role that the site has not": Case(train, "plan.wrong-role", site="hop"),
    "other code": Case(under(code_sha256="9" * 64), "plan.other-code"),
    "a cohort that was never taken in": Case(
        under(set_in("cohort", name="everybody")), "intake.no-cohort"
    ),
    # policy and budget
    "answers sooner than the hospital lets them leave": Case(
        with_policy(train, reply_quantum_floor_s=30), FORBIDDEN, "below this hospital's floor of 30"
    ),
    "no last day where the hospital asks for one": Case(
        with_policy(train, valid_until_within_days=30), FORBIDDEN, "the plan has no last day"
    ),
    "validation where it is not allowed": Case(
        with_policy(measure, allowed=["train"]), "policy.purpose-forbidden"
    ),
    "a cohort below the minimum": Case(
        with_policy(train, minimum_cohort_patients=1000), "policy.cohort-too-small"
    ),
    "a held-out split below the minimum": Case(
        with_policy(measure, minimum_cell=60), FORBIDDEN, "minimum cell of 60"
    ),
    "a lifetime that is used up": Case(
        with_policy(train, epsilon_lifetime=0.1), "privacy.budget-exhausted"
    ),
    "a policy that nobody can read": Case(unreadable_policy, "policy.invalid", opens=False),
    # plans that no coordinator of this project can write
    "a site that is on the roster twice": Case(
        by_hand(roster=lambda entries: [*entries, entries[0]]), "plan.not-valid"
    ),
    "a roster of nobody": Case(by_hand(roster=[]), "plan.not-valid"),
    "a plan of no stages": Case(by_hand(stages=[]), "plan.not-valid"),
    "a plan of an older version": Case(by_hand(version=3), "plan.unknown-version"),
    "a plan of a version to come": Case(by_hand(version=999), "plan.unknown-version"),
    "a plan with a field that nobody knows": Case(by_hand(debug=True), "plan.not-valid"),
    "a plan for no code": Case(by_hand(code_sha256=""), "plan.not-valid"),
    "a coordinator's key in capitals": Case(by_hand(coordinator_key=str.upper), "plan.not-valid"),
    "a run named by a path": Case(by_hand(run="../../run"), "plan.not-valid"),
    "a run whose name clears the screen": Case(by_hand(run="x\x1b[2J"), "plan.not-valid"),
    "a run whose name is written backwards": Case(by_hand(run="x\u202e"), "plan.not-valid"),
    "a run whose name has a space of no width": Case(by_hand(run="a\u200bb"), "plan.not-valid"),
    "a clip norm of nothing": Case(written_by_hand(set_in("train", clip_norm=0.0)), "plan.not-valid"),
    "a clip norm below nothing": Case(
        written_by_hand(set_in("train", clip_norm=-1.0)), "plan.not-valid"
    ),
    "a clip norm that clips nobody": Case(
        written_by_hand(set_in("train", clip_norm=1e308)), "plan.not-valid"
    ),
    "a learning rate that no float holds": Case(
        written_by_hand(set_in("train", learning_rate=1e308)), "plan.not-valid"
    ),
    "nobody drawn into any step": Case(
        written_by_hand(set_in("train", sample_rate=0.0)), "plan.not-valid"
    ),
    "everybody drawn twice into every step": Case(
        written_by_hand(set_in("train", sample_rate=2.0)), "plan.not-valid"
    ),
    "fewer canaries than none": Case(written_by_hand(set_in("train", canaries=-1)), "plan.not-valid"),
    "no round at all": Case(written_by_hand(set_in("train", rounds=0)), "plan.not-valid"),
    "noise below nothing": Case(
        written_by_hand(set_in("train", noise_multipliers=[-9.0] * 3)), "plan.not-valid"
    ),
    "noise in words": Case(
        written_by_hand(set_in("train", noise_multipliers=["9"] * 3)), "plan.changed"
    ),
    "steps without end": Case(written_by_hand(set_in("train", local_steps=10**9)), "plan.not-valid"),
    "a table larger than any memory": Case(
        written_by_hand(set_in("internal", bins=10**7)), "plan.not-valid"
    ),
    "a table without a cell": Case(written_by_hand(set_in("internal", bins=0)), "plan.not-valid"),
    "a stage that asks no site": Case(written_by_hand(set_in("train", roles=[])), "plan.not-valid"),
    "a table without noise that is called off": Case(
        written_by_hand(set_in("internal", release_class="off")), "plan.not-valid"
    ),
    "a size beyond all that the hospital declared": Case(
        under(own={"declared_patients": 10**9}), "plan.wrong-entry", "declares 1000000000 patients"
    ),
    "training asked of a site that the plan calls external": Case(
        under(own={"role": "external"}), "plan.wrong-role"
    ),
    "a plan after its last day": Case(
        by_hand(valid_until="2026-01-01"), "plan.expired", "was valid until 2026-01-01"
    ),
    # approvals
    "a plan that was approved, then refused": Case(refused_later, "plan.not-approved"),
    "an approval by nobody": Case(
        with_approval(lambda _, kept: kept | {"by": ""}), "plan.forged-approval"
    ),
    "the approval of another hospital": Case(
        with_approval(lambda it, _: approval_at(it, "hop")), "plan.forged-approval"
    ),
    "an approval that says nothing": Case(with_approval(lambda *_: {}), "plan.damaged-approval"),
    "a plan that nobody has signed": Case(
        with_plan_file(lambda _, kept: kept | {"signature": "0" * 128}), "plan.bad-signature"
    ),
    "a plan that another hospital has signed": Case(
        with_plan_file(signed_by_hop), "plan.bad-signature"
    ),
    "a plan that is no plan": Case(with_plan_file(lambda *_: [1]), "plan.unreadable"),
}
