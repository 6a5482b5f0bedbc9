"""`make demo`, and what it computes."""

from __future__ import annotations

import gzip
import importlib.util
import json
import subprocess
import sys

from examples.demo.__main__ import WARM_UP
from examples.demo.expected import expected_of_enrich, totals_of_enrich
from examples.demo.orders import make_orders
from tests.cli.conftest import ROOT, Mill

DEMO = ROOT / "examples" / "demo"


def test_the_sample_is_what_the_generator_makes() -> None:
    lines = gzip.decompress((DEMO / "orders.ndjson.gz").read_bytes()).splitlines()
    assert [json.loads(line) for line in lines] == list(make_orders(len(lines)))


def test_two_ways_to_compute_agree() -> None:
    spec = importlib.util.spec_from_file_location("enrich", DEMO / "f/demo/enrich.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    orders = [order | {"coupon": None} for order in make_orders(300)]
    assert totals_of_enrich(module.main(**order) for order in orders) == expected_of_enrich(orders)


def test_the_demo(mill: Mill) -> None:
    command = [sys.executable, "-W", "error", "-m", "examples.demo", "600"]
    environ = {**mill.environ, "MILL_NODE_WORK_DIR": str(mill.folder)}
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "600 success" in done.stdout
    assert "everything succeeded and the totals are right" in done.stdout
    # Nothing is left but the jobs themselves.
    counts = mill("top", "--count", "1", "--interval", "0.1", "--json").json
    assert set(counts["open"].values()) == {0}
    assert counts["nodes"] == []
    assert len(mill("job", "list", "--limit", "1000", "--json").json) == 600 + 2 * WARM_UP
