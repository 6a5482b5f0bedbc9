"""The benches' own arithmetic; that each of them measures is theirs to check when they run."""

from __future__ import annotations

import json
from pathlib import Path

import orjson
import pytest

from bench import __main__ as program
from bench import report
from bench.latency import percentile
from bench.scripts import ARGS_BYTES, FIRST, RESULT_BYTES, arguments

DOCS = Path(__file__).parents[2] / "docs" / "bench.md"


def test_figures_are_minimum_median_and_maximum_of_the_runs() -> None:
    runs = [{"speed": (value, "jobs/s")} for value in (3.0, 1.0, 2.0)]
    assert report.summarise(runs) == {"speed": {"median": 2.0, "min": 1.0, "max": 3.0, "unit": "jobs/s"}}


def test_runs_that_measured_different_things_have_no_figures() -> None:
    with pytest.raises(AssertionError, match="not measured the same"):
        report.summarise([{"speed": (1.0, "jobs/s")}, {"memory": (1.0, "MB")}])


def test_one_bench_is_one_document_and_more_are_a_list(tmp_path: Path) -> None:
    told = report.document("drain", "abc", {"cores": 2}, [{"speed": (1.0, "jobs/s")}])
    assert set(told) == {"bench", "commit", "machine", "figures"}
    file = tmp_path / "figures.json"
    report.write(str(file), [told])
    assert json.loads(file.read_text()) == told
    report.write(str(file), [told, told])
    assert json.loads(file.read_text()) == [told, told]


@pytest.mark.parametrize("place", [0, 1, 199_999, 899_999_999])
def test_arguments_and_results_have_their_length_whatever_the_number(place: int) -> None:
    assert len(orjson.dumps(arguments(place))) == ARGS_BYTES
    assert len(orjson.dumps({"ok": True, "number": FIRST + place})) == RESULT_BYTES


def test_a_percentile_is_a_value_that_occurred() -> None:
    values = [float(value) for value in range(1, 1001)]
    assert percentile(values, 50) == 500.0
    assert percentile(values, 99) == 990.0
    assert percentile([7.0], 99) == 7.0


def test_every_bench_is_described() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert [name for name in program.BENCHES if f"## {name}\n" not in text] == []
