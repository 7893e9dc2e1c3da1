"""The demo's attack on its release: who is called a member, and who is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import practice_federation as practice
import pytest
import torch
from practice_patients import practice_patients

from server.demo import audit
from shared.audit.attack.membership import AuditedSite


def test_members_are_who_trained_and_the_others_were_held_out_with_a_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=1, n_external=1)
    trained, held_out = practice_patients(5, seed=1), practice_patients(9, seed=2)
    exam_mask = held_out.exam_mask.clone()
    exam_mask[3] = False
    splits = {"train": trained, "internal": replace(held_out, exam_mask=exam_mask)}
    attacked: list[AuditedSite] = []

    def load(_site: object, _plan: object, *, name: str, split: str) -> SimpleNamespace:
        assert name == "practice"
        return SimpleNamespace(batch=splits[split])

    monkeypatch.setattr(audit, "load_split", load)
    monkeypatch.setattr(audit, "read_release", lambda *_, **__: SimpleNamespace(weights=None))
    monkeypatch.setattr(audit, "attack_run", lambda _, __, pools, ___, **____: attacked.extend(pools))
    monkeypatch.setattr(audit, "membership_findings", lambda *_, **__: [])
    audit._attack_release(
        store.plan, [SimpleNamespace(name="site-0"), SimpleNamespace(name="site-1")], store
    )
    [only] = attacked  # the external site trained nothing
    assert only.site == "site-0"
    assert only.is_member.tolist() == [True] * 5 + [False] * 8
    members = only.pool.select(np.flatnonzero(only.is_member))
    others = only.pool.select(np.flatnonzero(~only.is_member))
    assert torch.equal(members.fields, trained.fields)
    assert torch.equal(others.fields, held_out.fields[[0, 1, 2, 4, 5, 6, 7, 8]])
