"""Users of an app become contacts of a CRM, and what fails is reported."""

from __future__ import annotations

import pytest

from tests.examples.conftest import Run

pytestmark = pytest.mark.slow
FLOW = "f/crm_sync/sync_users"

ADA = {"email": "ada@engines.example", "name": "Ada", "company": "Engines", "plan": "scale"}
BO = {"email": "bo@looms.example", "name": "Bo", "company": "Looms", "plan": "team"}
CY = {"email": "cy@mills.example", "name": "Cy", "company": "Mills", "plan": "free"}
GONE = {"email": "gone@mills.example", "name": "Di", "company": "Mills", "plan": "free", "deleted": True}


def test_each_user_is_created_updated_or_left_alone(run: Run) -> None:
    contacts = [{**BO, "id": "crm-1"}, {**CY, "id": "crm-2", "plan": "team"}]
    users = [{**ADA, "email": " Ada@Engines.example"}, BO, CY, GONE]
    assert run(FLOW, users=users, contacts=contacts) == (
        "success",
        {"created": 1, "updated": 1, "skipped": 1, "contacts": ["crm-ada.engines", "crm-1", "crm-2"]},
    )


def test_a_failing_user_is_reported_with_its_step(run: Run) -> None:
    status, result = run(FLOW, users=[ADA, {**BO, "email": "bo@looms"}, CY], contacts=[])
    assert status == "failure"
    assert result[1] == {
        "reported": "CRM sync failed at step create for bo@looms: bo@looms is no e-mail address"
    }
    assert len(result) == 2, "nobody is synced after a failure"


def test_a_failing_side_is_reported_too(run: Run) -> None:
    contacts = [{**BO, "id": "crm-1"}, {**BO, "id": "crm-2"}]
    status, result = run(FLOW, users=[BO], contacts=contacts)
    assert status == "failure"
    assert "bo@looms.example is there twice: crm-1 and crm-2" in str(result)
