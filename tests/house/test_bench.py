"""The benches' own arithmetic; that each of them measures is theirs to check when they run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from bench import __main__ as program
from bench import flow_expressions, flow_scripts, report
from bench.latency import percentile
from bench.scripts import ARGS_BYTES, FIRST, RESULT_BYTES, arguments
from mill_actors.flows.references import references
from mill_actors.store.flow_versions import compiled

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


@pytest.mark.parametrize("place", [0, 1, 4_999, 50_000_000])
def test_a_flow_and_its_steps_have_numbers_of_their_own(place: int) -> None:
    assert len(orjson.dumps(flow_scripts.arguments_of(place))) == ARGS_BYTES
    last = flow_scripts.number_of(place) + flow_scripts.TEN
    assert last < flow_scripts.number_of(place + 1)
    assert len(orjson.dumps({"ok": True, "number": last})) == RESULT_BYTES


def test_each_step_of_the_measured_flows_has_code_of_its_own_and_reads_the_one_before() -> None:
    flow = compiled(flow_scripts.chain("ten", flow_scripts.TEN))
    assert len({script.hash for script in flow.inline_scripts()}) == flow_scripts.TEN
    reads = [step.module.value.input_transforms["before"].expr for step in flow.program.steps()]  # type: ignore[union-attr]
    assert reads == ["flow_input", *(f"results.s{n}" for n in range(flow_scripts.TEN - 1))]


@pytest.mark.parametrize("expressions", [flow_expressions.EXPRESSIONS, flow_expressions.PATHS])
def test_the_measured_expressions_come_to_what_the_bench_says(
    expressions: Sequence[tuple[str, object]],
) -> None:
    assert flow_expressions.mean_us(expressions, 1) > 0.0


def test_only_paths_are_measured_as_paths() -> None:
    assert all(references(expr).path for expr, _ in flow_expressions.PATHS)
    assert not any(references(expr).path for expr, _ in flow_expressions.EXPRESSIONS)


def test_every_bench_is_described() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert [name for name in program.BENCHES if f"## {name}\n" not in text] == []
