"""A membership attack that needs no hospital: the plan's training rehearsed on public random patients.

Their labels say nothing of their fields, so whatever is learned is learned by heart: the attack's
easiest case. A control without clip and noise says whether the attack could have seen anything at all.
Imports membership, training and the public batch.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from shared.audit.attack.membership import (
    AttackRun,
    AuditedSite,
    attack_measures,
    attack_run,
    membership_findings,
    train_release,
)
from shared.audit.attack.variations import training_of, without_privacy
from shared.audit.finding import Finding
from shared.contract.plan import Plan
from shared.contract.settings import PlanSettings
from shared.contract.stages import TrainingStage
from shared.privacy.cost import events_of
from shared.train.patients import PatientBatch
from shared.train.public_batch import draw_images, draw_public_batch

PUBLIC = "public patients"
_BLIND_TO = "Whether another attack would have seen more."


def rehearsal_findings(
    plan: Plan, *, n_references: int, seed: int, encoder_file: Path | None = None
) -> list[Finding]:
    """Findings of the attacks on a rehearsed run, and of the control without clip and noise.

    One site of the smallest declared size trains alone, so that no other site dilutes its patients.

    Args:
        plan: gives settings, training and sizes.
        n_references: models trained to compare with, even and at least 16, for each of the two runs.
        seed: draws patients, members and the references' halves, never the noise.
        encoder_file: as ``build_model`` takes it.

    Raises:
        AuditError: too few references, or the plan trains nothing.
        SettingsError: an encoder learns from a file that was not given.
    """
    stage = training_of(plan)
    attacked = _rehearse(plan, stage, n_references=n_references, seed=seed, encoder_file=encoder_file)
    findings = membership_findings(
        attacked, events_of(stage) or (), site=PUBLIC, delta=plan.settings.delta
    )
    if stage.release_class == "dp":
        open_run = _rehearse(
            plan,
            without_privacy(stage),
            n_references=n_references,
            seed=seed,
            encoder_file=encoder_file,
        )
        findings.append(_judge_control(open_run))
    return findings


def draw_patients(settings: PlanSettings, n_patients: int, *, seed: int) -> PatientBatch:
    """Random patients of the plan's shape whose labels are independent of everything else."""
    generator = torch.Generator().manual_seed(seed)
    public = draw_public_batch(settings)
    batch = public.select([row % len(public) for row in range(n_patients)])
    is_number = torch.tensor([field.kind == "number" for field in settings.cohort.fields])
    numbers = torch.randn(batch.fields.shape, generator=generator) * batch.field_mask
    target = batch.target[torch.randperm(n_patients, generator=generator)]
    if settings.task.kind == "regression":
        target = torch.randn(batch.target.shape, generator=generator)
    return replace(
        batch,
        tokens=draw_images(settings, tuple(batch.film_exam.shape), generator),
        fields=torch.where(is_number, numbers, batch.fields),
        film_columns=torch.randn(batch.film_columns.shape, generator=generator),
        target=target,
    )


def _rehearse(
    plan: Plan, stage: TrainingStage, *, n_references: int, seed: int, encoder_file: Path | None
) -> AttackRun:
    alone = min(plan.asked(stage), key=lambda entry: entry.declared_patients)
    n_patients = 2 * alone.declared_patients
    is_member = np.random.default_rng(seed).permutation(n_patients) < alone.declared_patients
    pool = draw_patients(plan.settings, n_patients, seed=seed)
    site = AuditedSite(site=alone.site, pool=pool, is_member=is_member)
    weights = train_release(plan, stage, [site], [is_member], encoder_file)
    return attack_run(
        plan,
        stage,
        [site],
        weights,
        n_references=n_references,
        seed=seed + 1,
        encoder_file=encoder_file,
    )


def _judge_control(run: AttackRun) -> Finding:
    each = 1 - 0.05 / len(run.scores)
    found = {
        name: attack_measures(scores, run.is_member, confidence=each)
        for name, scores in run.scores.items()
    }
    best = max(found, key=lambda name: found[name].auc_low)
    is_serious = found[best].auc_low > 0.5
    auc = found[best].auc
    return Finding(
        method="membership",
        site=PUBLIC,
        claim="The attack is serious: without clip and noise it tells members from others.",
        verdict="pass" if is_serious else "not-run",
        because=f"{best} reaches an AUC of {auc:.3f} without clip and noise"
        if is_serious
        else f"even without noise the best AUC is {auc:.3f}: this model learns too little by heart "
        "for these attacks, so that they say nothing about the noise",
        figures={f"auc_{name}": measures.auc for name, measures in found.items()},
        blind_to=_BLIND_TO,
    )
