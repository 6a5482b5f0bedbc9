"""`docs/wmill.md` names every public name of the package, and says what is true of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wmill

from mill_actors.ids import new_id
from tests.clients.conftest import Desk

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "docs" / "wmill.md"
ROW = re.compile(r"^\| `(\w+)` \| (both|`Windmill`|module) \| (works|local|refused) \|", re.MULTILINE)
# Any: much of it has no annotations.
Windmill: Any = wmill.Windmill
module: Any = wmill

OF_CLASS = {name for name in vars(Windmill) if not name.startswith("_")}
OF_MODULE = {
    name
    for name, value in vars(wmill).items()
    if not name.startswith("_") and getattr(value, "__module__", "").startswith("wmill")
}
FILE = {"s3": "a/file.txt"}


def rows() -> dict[str, tuple[str, str]]:
    return {name: (where, here) for name, where, here in ROW.findall(TABLE.read_text())}


def test_every_public_name_is_in_the_table() -> None:
    places = {
        (True, True): "both",
        (True, False): "`Windmill`",
        (False, True): "module",
    }
    expected = {name: places[name in OF_CLASS, name in OF_MODULE] for name in OF_CLASS | OF_MODULE}
    assert {name: where for name, (where, _) in rows().items()} == expected


def test_what_works_is_tested() -> None:
    tests = (HERE / "test_wmill.py").read_text() + (HERE / "f" / "inside.py").read_text()
    works = {name for name, (_, here) in rows().items() if here == "works"}
    assert {name for name in works if not re.search(rf"\.{name}\b", tests)} == set()


async def _as_code() -> None:
    part = module.task(lambda: 1)

    async def whole() -> Any:
        return part()

    await module.workflow(whole)()


REFUSED: dict[str, Callable[[Any], object]] = {
    "get_boto3_connection_settings": lambda client: client.get_boto3_connection_settings(),
    "get_duckdb_connection_settings": lambda client: client.get_duckdb_connection_settings(),
    "get_polars_connection_settings": lambda client: client.get_polars_connection_settings(),
    "boto3_connection_settings": lambda _: module.boto3_connection_settings(),
    "duckdb_connection_settings": lambda _: module.duckdb_connection_settings(),
    "polars_connection_settings": lambda _: module.polars_connection_settings(),
    "load_s3_file": lambda client: client.load_s3_file(FILE, None),
    "load_s3_file_reader": lambda client: client.load_s3_file_reader(FILE, None).__enter__(),
    "write_s3_file": lambda client: client.write_s3_file(FILE, b"x", None),
    "delete_s3_object": lambda client: client.delete_s3_object(FILE),
    "sign_s3_object": lambda client: client.sign_s3_object(FILE),
    "sign_s3_objects": lambda client: client.sign_s3_objects([FILE]),
    "get_presigned_s3_public_url": lambda client: client.get_presigned_s3_public_url(FILE),
    "get_presigned_s3_public_urls": lambda client: client.get_presigned_s3_public_urls([FILE]),
    "set_shared_state": lambda client: client.set_shared_state({}),
    "get_shared_state": lambda client: client.get_shared_state(),
    "set_shared_state_pickle": lambda client: client.set_shared_state_pickle({}),
    "get_shared_state_pickle": lambda client: client.get_shared_state_pickle(),
    "datatable": lambda client: client.datatable().query("select 1").fetch(),
    "DataTableClient": lambda client: module.DataTableClient(client, "main").query("select 1").execute(),
    "ducklake": lambda client: client.ducklake().query("select 1").fetch(),
    "DucklakeClient": lambda client: module.DucklakeClient(client, "main").read("t").fetch_one(),
    "SqlQuery": lambda client: client.ducklake().query("select 1").fetch_one_scalar(),
    "get_id_token": lambda client: client.get_id_token("somebody"),
    "request_interactive_slack_approval": lambda client: client.request_interactive_slack_approval("a", "b"),
    "send_teams_message": lambda client: client.send_teams_message("a", "b"),
    "commit_kafka_offsets": lambda _: module.commit_kafka_offsets("f/a/b", "topic", 0, 1),
    "get_approval_urls": lambda client: client.get_approval_urls(),
    "task": lambda _: module.task(lambda: 1)(),
    "workflow": lambda _: asyncio.run(_as_code()),
    "task_script": lambda _: module.task_script("f/a/b")(),
    "task_flow": lambda _: module.task_flow("f/a/b")(),
    "wait_for_approval": lambda _: asyncio.run(module.wait_for_approval()),
}
SQL = "400.*are not run here"
#: Those that fail before they ask, or in words of their own.
OTHERWISE = {
    **dict.fromkeys(("datatable", "DataTableClient", "ducklake", "DucklakeClient", "SqlQuery"), SQL),
    "write_s3_file": "file_key",
    "set_shared_state": "/shared/",
    "get_shared_state": "/shared/",
    "set_shared_state_pickle": "/shared/",
    "get_shared_state_pickle": "/shared/",
    "task_script": "inside a @workflow",
    "task_flow": "inside a @workflow",
    "wait_for_approval": "inside a @workflow",
}


def test_what_is_refused_is_tested() -> None:
    assert {name for name, (_, here) in rows().items() if here == "refused"} == REFUSED.keys()


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_why(desk: Desk, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Windmill(base_url=desk.api.url, token=desk.api.token, workspace="default")
    for variable in ("WM_JOB_ID", "WM_FLOW_JOB_ID"):
        monkeypatch.setenv(variable, new_id())
    monkeypatch.setenv("WM_WORKSPACE", "default")
    monkeypatch.setattr(wmill.client, "_client", client)
    with client.client, pytest.raises(Exception, match=OTHERWISE.get(name, "400.*unsupported")):
        REFUSED[name](client)
