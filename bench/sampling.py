"""`--profile`: samples a node with py-spy, if that is installed, and says where it was."""

from __future__ import annotations

import collections
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench.report import console
from bench.server import ROOT

RATE = 200
LINES = 30


class Sampler:
    """From its making until `show`."""

    def __init__(self, pid: int, name: str) -> None:
        folder = ROOT / ".mill" / "profiles"
        folder.mkdir(parents=True, exist_ok=True)
        self._raw = folder / f"{name}-{int(time.time())}.folded"
        beside = Path(sys.executable).parent / "py-spy"
        program = str(beside) if beside.exists() else shutil.which("py-spy")
        self._popen: subprocess.Popen[bytes] | None = None
        if program is None:
            console.print("[yellow]py-spy is not installed: only CPU by process is shown[/]")
            return
        command = [
            program, "record", "--pid", str(pid), "--output", str(self._raw), "--format", "raw",
            "--rate", str(RATE), "--threads", "--gil", "--nonblocking",
        ]  # fmt: skip
        self._popen = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1.0)

    def show(self) -> None:
        """Print who held the GIL, by thread and by function."""
        if self._popen is None:
            return
        self._popen.send_signal(signal.SIGINT)
        self._popen.wait(30)
        if not self._raw.exists():
            console.print("[yellow]py-spy took no samples[/]")
            return
        threads: collections.Counter[str] = collections.Counter()
        functions: collections.Counter[str] = collections.Counter()
        for line in self._raw.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            frames = stack.split(";")
            thread = re.sub(r"\s*\(0x[0-9A-Fa-f]+\)|thread ", "", frames[0])
            threads[thread] += int(count)
            functions[f"{thread}: {frames[-1]}"] += int(count)
        total = sum(threads.values()) or 1
        console.print(f"[bold]with the GIL[/] ({total} samples; all of it: {self._raw})")
        for name, samples in [*threads.most_common(12), ("", 0), *functions.most_common(LINES)]:
            share = f"{samples / total:6.1%}" if name else ""
            console.print(f"  {share}  {name}", highlight=False, soft_wrap=True)
