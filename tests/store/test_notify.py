from __future__ import annotations

import pytest

from mill_actors.ids import new_ids
from mill_actors.jobs.script import make_script
from mill_actors.store.client import Client
from mill_actors.store.notify import MAX_PAYLOAD_BYTES, ring_queue, ring_settled
from tests.store.floor import Floor


def test_tags_ring_together(floor: Floor) -> None:
    ear = floor.listen("mill_queue")
    ring_queue(floor.connection, {"b", "a", "ws:f/a/b"})
    ring_queue(floor.connection, [])
    assert floor.heard(ear) == [("mill_queue", "a\nb\nws:f/a/b")]


@pytest.mark.parametrize("tag", ["x" * 20, "é" * 10])
def test_more_tags_than_fit_ring_for_everything(floor: Floor, tag: str) -> None:
    ear = floor.listen("mill_queue")
    ring_queue(floor.connection, [f"{tag}{n}" for n in range(1000)])
    assert floor.heard(ear) == [("mill_queue", "")]


@pytest.mark.parametrize("count", [0, 1, 212, 213, 214, 1000])
def test_ids_ring_in_as_few_rings_as_they_fit(floor: Floor, count: int) -> None:
    ear = floor.listen("mill_settled")
    ids = new_ids(count)
    ring_settled(floor.connection, ids)
    payloads = [payload for _, payload in floor.heard(ear)]
    assert [job for payload in payloads for job in payload.split(",")] == ids
    assert all(len(payload) <= MAX_PAYLOAD_BYTES for payload in payloads)
    assert len(payloads) == -(-count // 213)


def test_a_deployment_rings_when_the_path_means_something_new(floor: Floor, client: Client) -> None:
    ear = floor.listen("mill_deploy")
    one, two = (make_script("default", "f/a/x", "python3", text) for text in ("1", "2"))
    assert [client.deploy(one), client.deploy(one), client.deploy(two), client.deploy(one)] == [
        True, False, True, True,
    ]  # fmt: skip
    assert floor.heard(ear) == [("mill_deploy", "default:f/a/x")] * 3
