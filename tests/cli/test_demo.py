"""`make demo`, and what it computes."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections import Counter

from examples.demo.__main__ import ENRICH, SCORE, WARM_UP
from examples.demo.billing import FLOW
from examples.demo.expected import expected_of_enrich, totals_of_enrich
from examples.demo.orders import make_orders
from tests.cli.conftest import ROOT, Mill
from tests.examples.loading import load_script

DEMO = ROOT / "examples" / "demo"


def test_the_sample_is_what_the_generator_makes() -> None:
    lines = gzip.decompress((DEMO / "orders.ndjson.gz").read_bytes()).splitlines()
    assert [json.loads(line) for line in lines] == list(make_orders(len(lines)))


def test_two_ways_to_compute_agree() -> None:
    enrich = load_script(DEMO / "f/demo/enrich.py")
    orders = [order | {"coupon": None} for order in make_orders(300)]
    assert totals_of_enrich(enrich(**order) for order in orders) == expected_of_enrich(orders)


def test_the_demo(mill: Mill) -> None:
    command = [sys.executable, "-W", "error", "-m", "examples.demo", "600", "40"]
    environ = {**mill.environ, "MILL_NODE_WORK_DIR": str(mill.folder)}
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "600 success" in done.stdout
    assert "40 of 40 invoices done" in done.stdout
    assert "everything succeeded and the totals are right" in done.stdout
    # Nothing is left but the jobs themselves.
    counts = mill("top", "--count", "1", "--interval", "0.1", "--json").json
    assert set(counts["open"].values()) == {0}
    assert counts["nodes"] == []
    jobs = Counter(job["path"] for job in mill("job", "list", "--limit", "1000", "--json").json)
    assert jobs == {ENRICH: 300 + WARM_UP, SCORE: 300 + WARM_UP, FLOW: 1}
