"""What Windmill has and we have not."""

from __future__ import annotations

import re

import pytest

from mill_actors.api.routes import refused
from mill_actors.api.routing import Route
from tests.api.conftest import Api
from tests.api.people import member


@pytest.mark.parametrize("route", [*refused.routes], ids=lambda route: route.name)
def test_what_is_missing_says_so(api: Api, route: Route) -> None:
    path = re.sub(r"\{\w+\}", "x", route.template.replace("{workspace}", "default"))
    answer = api.call(route.method, path, json={"any": "thing"})
    told = answer.json()
    assert (answer.status_code, told["code"]) == (400, "unsupported")
    assert told["message"].startswith(f"{route.name}: ")


def test_it_is_said_to_operators_too_and_to_nobody_without_a_token(api: Api) -> None:
    path = "job_helpers/upload_s3_file"
    assert api.post(path, token=member(api.dsn, "olga", "operator")).json()["code"] == "unsupported"
    assert api.post(path, token="nobody").status_code == 401
