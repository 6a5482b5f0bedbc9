from __future__ import annotations

import pytest

from mill_actors.errors import ScriptNotFound
from mill_actors.jobs.retry import ConstantRetry, ExponentialRetry, RetryPolicy
from mill_actors.jobs.script import Script, ScriptOptions, make_script
from mill_actors.store.scripts import (
    dedicated_scripts,
    deploy_script,
    list_scripts,
    script_by_hash,
    script_by_path,
)
from mill_actors.store.submission import Submission, submit
from tests.store.floor import Floor

EVERYTHING = ScriptOptions(
    tag="gpu", dedicated=True, priority=7, timeout_seconds=1.5,
    retry=RetryPolicy(ConstantRetry(2, 1.0), ExponentialRetry(3, 2.0, 3.0, 10.0, 99.0)),
    concurrency_limit=4, concurrency_key="$args[x]",
)  # fmt: skip


def script(content: str = "x", path: str = "f/b/c", options: ScriptOptions = ScriptOptions()) -> Script:
    return make_script("default", path, "python3", content, options)


@pytest.mark.parametrize("options", [ScriptOptions(), EVERYTHING], ids=["none", "all"])
@pytest.mark.parametrize("content", ["", "def main():\n\treturn 'é\\'\n", "%s %(x)s"])
def test_a_version_comes_back_as_it_was(floor: Floor, options: ScriptOptions, content: str) -> None:
    made = script(content, options=options)
    assert deploy_script(floor.connection, made, "u/ann")
    assert script_by_path(floor.connection, "default", "f/b/c") == made
    assert script_by_hash(floor.connection, "default", made.hash) == made


def test_the_same_again_changes_nothing(floor: Floor) -> None:
    assert deploy_script(floor.connection, script(), "u/ann")
    assert not deploy_script(floor.connection, script(), "u/bob")
    (listed,) = [s for s in list_scripts(floor.connection, "default") if s.path == "f/b/c"]
    assert listed.deployed_by == "u/ann"


def test_an_old_version_can_be_deployed_again(floor: Floor) -> None:
    one, two = script("1"), script("2")
    for version in (one, two, one):
        assert deploy_script(floor.connection, version, "u/ann")
    assert script_by_path(floor.connection, "default", "f/b/c") == one
    assert script_by_hash(floor.connection, "default", two.hash) == two
    assert floor.value("select count(*) from mill.script where path = 'f/b/c'") == 2


def test_versions_and_paths_belong_to_their_workspace(floor: Floor) -> None:
    floor.workspace("acme")
    deploy_script(floor.connection, script(), "u/ann")
    assert script_by_hash(floor.connection, "acme", script().hash) is None
    with pytest.raises(ScriptNotFound):
        script_by_path(floor.connection, "acme", "f/b/c")
    assert [s.path for s in list_scripts(floor.connection, "acme")] == ["f/a/b"]


def test_dedicated_scripts_are_the_current_versions_of_all_workspaces(floor: Floor) -> None:
    floor.workspace("acme")
    pinned = ScriptOptions(dedicated=True)
    for version in (script("1", "f/b/x", pinned), script("2", "f/b/x", pinned), script("1", "f/b/y", pinned)):
        deploy_script(floor.connection, version, "u/ann")
    deploy_script(floor.connection, script("2", "f/b/y"), "u/ann")
    deploy_script(floor.connection, make_script("acme", "f/b/z", "bun", "3", pinned), "u/ann")
    found = [(s.workspace, s.path, s.content) for s in dedicated_scripts(floor.connection)]
    assert found == [("acme", "f/b/z", "3"), ("default", "f/b/x", "2")]


@pytest.mark.parametrize("tail", ["%", "_", "\\", "x%'", ""])
def test_a_strange_path_is_just_not_there(floor: Floor, tail: str) -> None:
    with pytest.raises(ScriptNotFound):
        script_by_path(floor.connection, "default", f"f/b/{tail}")


def test_a_job_submitted_while_a_version_is_deployed_has_one_of_the_two(floor: Floor) -> None:
    deploy_script(floor.connection, script("1"), "u/ann")
    with floor.connection.transaction():
        deploy_script(floor.connection, script("2"), "u/ann")
        rival = floor.rival(lambda own: submit(own, [Submission(path="f/b/c")]).receipts[0].id)
        assert not rival.waits()
    assert floor.job(rival.result()).script == script("1").hash


def test_two_that_deploy_at_once_both_get_through(floor: Floor) -> None:
    with floor.connection.transaction():
        deploy_script(floor.connection, script("1"), "u/ann")
        rival = floor.rival(lambda own: deploy_script(own, script("2"), "u/bob"))
        assert rival.waits()
    assert rival.result()
    assert script_by_path(floor.connection, "default", "f/b/c") == script("2")
