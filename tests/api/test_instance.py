"""What a server says of itself, to whoever asks."""

from __future__ import annotations

import pytest

from mill_actors import __version__
from tests.api.conftest import Api


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_load_balancers_need_no_token(api: Api, prefix: str) -> None:
    version = api.client.get(f"{api.url}{prefix}/version")
    assert version.text.startswith("CE v1.")
    assert version.text.endswith(__version__)
    assert api.client.get(f"{api.url}{prefix}/ready").text == "ready"
    told = api.client.get(f"{api.url}{prefix}/health")
    assert told.status_code == 200
    assert told.json()["status"] == "healthy"
    assert told.json()["nodes"] == 1


def test_an_account_is_told_who_it_is(api: Api) -> None:
    told = api.get("/users/whoami").json()
    assert (told["email"], told["username"], told["super_admin"]) == ("admin@localhost", "admin", True)
    assert api.get("/users/whoami", token="nobody's").status_code == 401
