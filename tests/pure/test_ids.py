from __future__ import annotations

import subprocess
import sys
import uuid

from mill_actors.ids import new_id, new_ids


def test_ids_are_uuid7_in_text() -> None:
    assert uuid.UUID(new_id()).version == 7


def test_many_ids_differ() -> None:
    assert len(set(new_ids(10_000))) == 10_000


# A program of its own, because this one has threads, which a fork would not copy.
FORKED = """
import os
from mill_actors.ids import new_id
new_id()
reading, writing = os.pipe()
if os.fork() == 0:
    os.write(writing, new_id()[-12:].encode())
    os._exit(0)
os.wait()
assert os.read(reading, 12).decode() != new_id()[-12:]
"""


def test_a_forked_child_makes_other_ids() -> None:
    subprocess.run([sys.executable, "-c", FORKED], check=True)
