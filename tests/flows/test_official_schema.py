"""What we accept, Windmill's own validator accepts too, but for the differences that stand here."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mill_actors.errors import InvalidFlow
from mill_actors.flows.document import read_flow
from mill_actors.runtimes.bun import find_bun
from tests.flows.corpus import DOCUMENTS, both, changed, document, either, flow, js, loop, raw, repeat, static

HERE = Path(__file__).parent / "official"


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the npm package `windmill-yaml-validator`, as locked, says against each; without it all fails."""
    folder = tmp_path_factory.mktemp("official")
    for file in HERE.iterdir():
        shutil.copy(file, folder)

    def bun(*arguments: str, told: str = "") -> str:
        done = subprocess.run(
            [find_bun(), *arguments], cwd=folder, input=told, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    bun("install", "--frozen-lockfile", "--ignore-scripts")
    flows = DOCUMENTS | BOTH_REFUSE | WE_REFUSE | WE_ACCEPT
    said = json.loads(bun("run", "judge.js", told=json.dumps(list(flows.values()))))
    return dict(zip(flows, said, strict=True))


def accepts(flow: Any) -> bool:
    try:
        read_flow(flow)
    except InvalidFlow:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("name", DOCUMENTS)
def test_both_accept_the_flows_of_this_repository(verdicts: dict[str, list[str]], name: str) -> None:
    read_flow(DOCUMENTS[name])
    assert verdicts[name] == []


def without(value: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: item for name, item in value.items() if name not in names}


def in_module(module: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**module, "value": {**module["value"], **fields}}


BOTH_REFUSE = {
    "no summary": without(document(flow()), "summary"),
    "no modules": document({}),
    "no id": document(flow(without(raw("a"), "id"))),
    "no value": document(flow({"id": "a"})),
    "no type": document(flow({"id": "a", "value": {}})),
    "an unknown type": document(flow({"id": "a", "value": {"type": "goto"}})),
    "no language": document(flow({**raw("a"), "value": without(raw("a")["value"], "language")})),
    "no input_transforms": document(
        flow({**raw("a"), "value": without(raw("a")["value"], "input_transforms")})
    ),
    "an unknown language": document(flow(changed("a", language="cobol"))),
    "no skip_failures": document(flow({"id": "a", "value": without(repeat("a")["value"], "skip_failures")})),
    "no iterator": document(flow({"id": "a", "value": without(loop("a")["value"], "iterator")})),
    "no default": document(flow({"id": "a", "value": without(either("a", "1", [], [])["value"], "default")})),
    "a branch without modules": document(flow(in_module(both("a"), branches=[{}]))),
    "no expr": document(flow(changed("a", input_transforms={"x": {"type": "javascript"}}))),
    "an unknown transform": document(flow(changed("a", input_transforms={"x": {"type": "python"}}))),
    "text for a number": document(flow(raw("a", cache_ttl="60"))),
    "random_factor": document(flow(raw("a", retry={"exponential": {"random_factor": 101}}))),
}
WE_REFUSE = {
    "an AI agent": document(
        flow(
            {
                "id": "a",
                "value": {"type": "aiagent", "tools": [], "input_transforms": {"user_message": js("1")}},
            }
        )
    ),
    "a model's input": document(flow(changed("a", input_transforms={"x": {"type": "ai"}}))),
    "squash": document(flow(in_module(loop("a"), squash=True))),
    "other languages": document(flow(changed("a", language="go"))),
    "the hub": document(
        flow({"id": "a", "value": {"type": "script", "path": "hub/1", "input_transforms": {}}})
    ),
    "an id twice": document(flow(raw("a"), raw("a"))),
    "a reserved id": document(flow(raw("Input"))),
    "no JavaScript": document(flow(raw("a", "1 +"))),
    "no such step": document(flow(raw("a", "results.b"))),
    "an empty expression": document(flow(raw("a", skip_if={"expr": ""}))),
    "a loop as failure module": document(flow(failure_module=loop("failure"))),
    "a static iterator that is no list": document(flow(in_module(loop("a"), iterator=static(3)))),
    # The validator asks for a transform's type where there is an object, and for nothing else.
    "a number for a transform": document(flow(raw("a", sleep=5))),
    "numbers out of range": document(flow(raw("a", priority=101, cache_ttl=-1))),
}
WE_ACCEPT = {
    "null where Windmill's server takes it": document(flow(raw("a", skip_if=None), concurrency_key=None)),
    "parts of seconds": document(flow(raw("a", retry={"constant": {"attempts": 1, "seconds": 0.5}}))),
    "an exponential base below 1": document(flow(raw("a", retry={"exponential": {"seconds": 0.5}}))),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOTH_REFUSE)
def test_both_refuse(verdicts: dict[str, list[str]], name: str) -> None:
    assert verdicts[name] != []
    assert not accepts(BOTH_REFUSE[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", WE_REFUSE)
def test_we_alone_refuse(verdicts: dict[str, list[str]], name: str) -> None:
    assert verdicts[name] == []
    assert not accepts(WE_REFUSE[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", WE_ACCEPT)
def test_we_alone_accept(verdicts: dict[str, list[str]], name: str) -> None:
    assert verdicts[name] != []
    assert accepts(WE_ACCEPT[name])
