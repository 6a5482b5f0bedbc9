"""Expressions in process: what a step's inputs, a branch or an iterator cost that is no plain path."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

import orjson

from bench.report import Run
from mill_actors.flows.expressions import Evaluator, UnknownName

ROUNDS = 5
#: More than an engine of JavaScript is used for, so that making a new one is in the figure.
EVALUATIONS = 6_000
QUICK_EVALUATIONS = 1_500

VALUES: Mapping[str, object] = {
    "flow_input": {
        "email": "grace@example.com",
        "limit": 250,
        "customer": {"id": 20417, "name": "Grace", "tags": ["eu", "gold"]},
        "iter": {"index": 3, "value": {"id": 7, "amount": 120}},
    },
    "previous_result": {"ok": True, "count": 3},
    "results.a": {"rows": [{"price": 5, "units": 2}, {"price": 7, "units": 1}, {"price": 1, "units": 9}]},
    "results.b": {"total": 26, "currency": "EUR", "status": "open", "next": None},
    "results.c": [1, 2, 3, 4, 5],
    "result": {"done": False, "left": 0},
}

#: What flows have in their inputs, iterators and conditions, and what each comes to.
EXPRESSIONS: Sequence[tuple[str, object]] = (
    ("results.b.total + 1", 27),
    ("results.b.total > flow_input.limit", False),
    ("results.b.status === 'open' && results.b.total > 0", True),
    ("flow_input.iter.index + 1", 4),
    ("`customer-${flow_input.customer.id}`", "customer-20417"),
    ("results.a.rows.length > 2", True),
    ("results.a.rows.map(row => row.price * row.units)", [10, 7, 9]),
    ("results.a.rows.filter(row => row.units > 1)", [{"price": 5, "units": 2}, {"price": 1, "units": 9}]),
    ("results.a.rows.reduce((sum, row) => sum + row.price * row.units, 0)", 26),
    ("({...results.b, customer: flow_input.customer.id})", {**VALUES["results.b"], "customer": 20417}),  # type: ignore[dict-item]
    ("flow_input.email.split('@')[1]", "example.com"),
    ("flow_input.customer.tags.includes('gold') ? 'first' : 'later'", "first"),
    ("results.b.next ?? results.b.currency", "EUR"),
    ("result.left === 0 || result.done", True),
    ("previous_result.count * 2", 6),
    ("Object.keys(results.b).length", 4),
    ("[...results.c].reverse()", [5, 4, 3, 2, 1]),
    ("!previous_result.ok", False),
)

PATHS: Sequence[tuple[str, object]] = (
    ("previous_result", VALUES["previous_result"]),
    ("results.b", VALUES["results.b"]),
    ("results.b.total", 26),
    ("results.a.rows[1].price", 7),
    ("flow_input.customer.name", "Grace"),
    ("flow_input.iter.value", {"id": 7, "amount": 120}),
    ('results.b["currency"]', "EUR"),
)


class Values:
    """What is at hand, as JSON texts, as in a worker."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._texts = {name: orjson.dumps(value) for name, value in values.items()}

    def value(self, name: str) -> bytes:
        try:
            return self._texts[name]
        except KeyError:
            raise UnknownName(name) from None


def run(evaluations: int) -> Run:
    """Measure once."""
    return {
        "expression_us": (mean_us(EXPRESSIONS, evaluations), "µs"),
        "path_expression_us": (mean_us(PATHS, evaluations), "µs"),
    }


def mean_us(expressions: Sequence[tuple[str, object]], evaluations: int) -> float:
    """Return the µs of one evaluation, the mean over all expressions; every value is looked at."""
    evaluator, scope = Evaluator(), Values(VALUES)
    times = []
    for turn in range(-1, ROUNDS):  # the first one warms up
        answers: dict[str, set[bytes]] = {expr: set() for expr, _ in expressions}
        count = max(1, evaluations // len(expressions))
        began = time.perf_counter()
        for _ in range(count):
            for expr, _value in expressions:
                answers[expr].add(evaluator.evaluate(expr, scope))
        spent = time.perf_counter() - began
        for expr, value in expressions:
            (answer,) = answers[expr]
            assert orjson.loads(answer) == value, f"{expr} is {answer!r}, not {value!r}"
        if turn >= 0:
            times.append(spent / (count * len(expressions)) * 1e6)
    return statistics.median(times)
