"""The coordinator's folder: heads of ledgers over all runs."""

from __future__ import annotations

from pathlib import Path

from server.federation.folder import Home


def test_ledger_heads_are_kept_over_runs(tmp_path: Path) -> None:
    Home(tmp_path).record_heads({"site-0": "aa", "site-1": "bb"})
    Home(tmp_path).record_heads({"site-1": "cc"})
    assert Home(tmp_path).ledger_heads() == {"site-0": "aa", "site-1": "cc"}


def test_a_head_that_comes_again_is_not_the_last_one_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.heads_file.write_text('{"version": 1, "heads": {"site-0": "aa"}}')
    home.record_heads({"site-0": "bb"})
    for repeated in ("aa", "bb", "aa", ""):
        home.record_heads({"site-0": repeated})
        assert home.ledger_heads() == {"site-0": "bb"}
    home.record_heads({"site-0": "cc"})
    assert home.ledger_heads() == {"site-0": "cc"}
