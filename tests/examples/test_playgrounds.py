"""Expired playground accounts are kept, warned or recycled."""

from __future__ import annotations

from typing import Any

import pytest

from tests.examples.conftest import Run

pytestmark = pytest.mark.slow
FLOW = "f/playgrounds/recycle"
NOW = "2026-11-22T08:00:00+00:00"


def account(name: str, expires: str, **more: Any) -> dict[str, Any]:
    told = {"id": name, "owner": f"{name}@example.com", "plan": "playground", "scripts": ["hello"]}
    return {**told, "expires_at": f"{expires}T00:00:00+00:00", "warned_at": None, **more}


LATER = account("later", "2026-12-01")
PAYING = account("paying", "2026-11-03", plan="team")
UNTOLD = account("untold", "2026-11-21")
TOLD = account("told", "2026-11-18", warned_at="2026-11-19T08:00:00+00:00")
LOCKED = account("locked", "2026-11-17", warned_at="2026-11-18T08:00:00+00:00", locked=True)


def test_nothing_happens_while_no_account_has_expired(run: Run) -> None:
    assert run(FLOW, accounts=[LATER], now=NOW) == ("skipped", [])


def test_each_expired_account_gets_what_it_needs(run: Run) -> None:
    status, result = run(FLOW, accounts=[LATER, PAYING, UNTOLD, TOLD, LOCKED], now=NOW)
    assert status == "success"
    assert result == {
        "done": {"kept": 1, "recycled": 1, "warned": 1},
        "failed": ["locked is locked by support"],
    }
