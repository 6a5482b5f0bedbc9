from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import supervisors


def test_the_first_example_of_the_readme_does_what_it_says() -> None:
    package = Path(supervisors.__file__).parent
    found = re.search(r"```python\n(.*?)```", (package / "README.md").read_text(), re.DOTALL)
    assert found
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", found[1]],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(package.parent)},
    )
    assert (out.returncode, out.stdout.split("\n")) == (1, ["Hello Joe"] * 4 + [""])
    assert "AttributeError: 'int' object has no attribute 'title'" in out.stderr
    assert "gives up" in out.stderr
