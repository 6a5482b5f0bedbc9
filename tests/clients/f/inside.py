"""A script as somebody writes it for Windmill; a job says which function it calls."""

import os
import time
from datetime import timedelta

import wmill


def main():
    return {
        "workspace": wmill.get_workspace(),
        "email": wmill.whoami()["email"],
        "version": wmill.Windmill().version,
        "user": wmill.Windmill().user["username"],
        "job": os.environ["WM_JOB_ID"],
    }


def clients():
    """Of the module, of the script's import, of whoever asked first."""
    global FIRST
    FIRST = FIRST or wmill.Windmill()
    return {
        "token": os.environ["WM_TOKEN"],
        "who": [wmill.whoami()["email"], EARLY.whoami()["email"], FIRST.whoami()["email"]],
    }


FIRST = None
EARLY = wmill.Windmill()


def makes_a_token():
    made = wmill.Windmill().create_token()
    return [made == os.environ["WM_TOKEN"], wmill.Windmill(token=made).username_to_email("admin")]


def children(path, digest, flow):
    ids = [
        wmill.run_script_by_path_async(path, {"name": "a"}),
        wmill.run_script_by_hash_async(digest, {"name": "b"}),
        wmill.run_script_async(path, {"name": "c"}),
        wmill.run_script_async(digest, {"name": "d"}),
        wmill.run_flow_async(flow, {"x": 1}),
        wmill.run_flow_async(flow, {"x": 2}, do_not_track_in_parent=False),
    ]
    client = wmill.Windmill()
    return {
        "ids": ids,
        "waited": [client.wait_job(job) for job in ids],
        "results": [wmill.get_result(job) for job in ids],
        "parents": [wmill.get_job(job).get("parent_job") for job in ids],
        "statuses": sorted({wmill.get_job_status(job) for job in ids}),
        "by_path": wmill.run_script_by_path(path, {"name": "e"}),
        "by_hash": wmill.run_script_by_hash(digest, {"name": "f"}),
        "deprecated": wmill.run_script(path, args={"name": "g"}),
        "sync": wmill.run_script_by_path_sync(path, {"name": "h"}, timeout=timedelta(seconds=30)),
        "sync_by_hash": wmill.run_script_sync(digest, {"name": "i"}, verbose=True),
    }


def values():
    wmill.set_variable("u/admin/plain", "one")
    wmill.set_variable("u/admin/plain", "two")
    wmill.set_variable("u/admin/secret", "hush", is_secret=True)
    wmill.set_variable("u/admin/secret", "hush!")
    wmill.set_resource("u/admin/db", {"host": "x", "password": "$var:u/admin/secret"}, "postgresql")
    wmill.set_resource("u/admin/db", {"host": "y", "password": "$var:u/admin/secret"})
    wmill.set_resource("u/admin/any", [1, None, "$res:u/admin/db"])
    return {
        "plain": wmill.get_variable("u/admin/plain"),
        "prefixed": wmill.get_variable("var://u/admin/plain"),
        "secret": wmill.get_variable("u/admin/secret"),
        "db": wmill.get_resource("u/admin/db"),
        "nested": wmill.get_resource("$res:u/admin/any"),
        "verbatim": wmill.get_resource("res://u/admin/db", interpolated=False),
        "nothing": wmill.get_resource("u/admin/nothing", none_if_undefined=True),
        "listed": [(each["path"], each["resource_type"]) for each in wmill.list_resources("postgresql")],
        "pages": len(wmill.list_resources(page=1, per_page=1)),
    }


def states():
    before = wmill.get_state()
    wmill.set_state({"seen": 1})
    wmill.set_state({"seen": 2})
    client = wmill.Windmill()
    client.state = {"seen": 3}
    return {
        "before": before,
        "after": wmill.get_state(),
        "property": client.state,
        "path": wmill.get_state_path(),
        "same": client.state_path,
        "elsewhere": [wmill.set_state([1], "u/admin/kept"), wmill.get_state("u/admin/kept")],
    }


def progress(other):
    nothing = wmill.get_progress()
    wmill.set_progress(7)
    wmill.set_progress(42)
    return {
        "before": nothing,
        "after": wmill.get_progress(),
        "mine": wmill.get_progress(os.environ["WM_JOB_ID"]),
        "other": [wmill.set_progress(99, other), wmill.get_progress(other)],
        "draining": wmill.worker_is_draining(),
        "root": wmill.get_root_job_id() == os.environ["WM_JOB_ID"],
    }


def alone():
    """Ends all other jobs of this script, and says which."""
    return list(wmill.cancel_running())


def runs_on():
    print("running", flush=True)
    time.sleep(600)


def inline():
    return wmill.run_inline_script_preview("def main(x): return x * 2", "python3", {"x": 21})


def address(username):
    return wmill.username_to_email(username)


def stream():
    wmill.append_to_result_stream("one ")
    wmill.stream_result(iter(["two ", "three"]))
    return "streamed"


@wmill.task
def a_task(x):
    return x


def as_code():
    return a_task(1)
