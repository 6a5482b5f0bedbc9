"""Requests that nobody thought of: Schemathesis over the OpenAPI document, all checks.

A few examples of each operation here, thousands by `make fuzz`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.conftest import Api

HERE = Path(__file__).parent
EXAMPLES = os.environ.get("MILL_TEST_FUZZ", "4")


@pytest.mark.slow
@pytest.mark.timeout(7200 if "MILL_TEST_FUZZ" in os.environ else 240)
def test_no_request_breaks_the_server(api: Api, tmp_path: Path) -> None:
    api.script("f/a/hello")
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "schemathesis.cli",
                "--config-file",
                str(HERE / "schemathesis.toml"),
            ),
            *("run", f"{api.url}/api/openapi.json", "--checks", "all", "--max-examples", EXAMPLES),
            *("--header", f"Authorization: Bearer {api.token}", "--request-timeout", "20", "--no-color"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HERE), "SCHEMATHESIS_HOOKS": "schemathesis_hooks"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert api.get("/version").status_code == 200
