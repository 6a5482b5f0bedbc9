"""The OpenAPI document is what the routes are."""

from __future__ import annotations

from mill_actors.api.openapi import document
from mill_actors.api.routes import ALL
from tests.api.conftest import Api


def test_every_route_is_in_the_document(api: Api) -> None:
    told = api.get("/openapi.json").json()
    assert told["openapi"] == "3.1.0"
    assert told["servers"] == [{"url": api.url}]
    named = {(m.upper(), path) for path, methods in told["paths"].items() for m in methods}
    assert named == {(route.method, "/api" + route.template) for route in ALL}


def test_operations_have_names_of_their_own() -> None:
    names = [route.name for route in ALL]
    assert len(names) == len(set(names))


def test_what_takes_no_token_says_so(api: Api) -> None:
    told = api.get("/openapi.json").json()
    assert told["paths"]["/api/version"]["get"]["security"] == []
    assert "security" not in told["paths"]["/api/users/whoami"]["get"]


def test_every_reference_leads_somewhere() -> None:
    import json
    import re

    text = document(ALL, "http://x").decode()
    components = json.loads(text)["components"]
    for kind, name in re.findall(r'"\$ref":"#/components/(\w+)/([^"]+)"', text):
        assert name in components[kind]


def test_a_page_shows_it(api: Api) -> None:
    answer = api.client.get(f"{api.url}/docs")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "https://" not in answer.text.replace("http://www.w3.org", "")
