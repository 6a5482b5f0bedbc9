"""Every fault of a flow is named with its place; nothing makes the validation itself fail."""

from __future__ import annotations

import copy
import datetime as dt
import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from mill_actors.flows import definition, shapes
from mill_actors.flows import settings as settings_
from mill_actors.flows.definition import decode_flow
from mill_actors.flows.steps import Steps
from mill_actors.flows.syntax import steps_read, syntax_error
from mill_actors.flows.validation import MOST_VALUES, validate
from tests.flows.corpus import BIG, VALUES, both, changed, either, flow, js, loop, raw, repeat, static


def script(path: Any) -> dict[str, Any]:
    return {"id": "a", "value": {"type": "script", "path": path, "input_transforms": {}}}


def in_value(module: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**module, "value": {**module["value"], **fields}}


def lacking(module: dict[str, Any], name: str) -> dict[str, Any]:
    return {**module, "value": {key: item for key, item in module["value"].items() if key != name}}


M = "value.modules[0]"
V = f"{M}.value"
IN0 = f"{V}.input_transforms.in0"
FAULTS: list[tuple[Any, str, str]] = [
    # ---- the flow itself
    (None, "value", "must be an object, not null"),
    ([], "value", "must be an object, not a list"),
    ({}, "value.modules", "is missing"),
    ({"modules": {}}, "value.modules", "must be a list, not an object"),
    (flow(3), M, "must be an object, not a number"),
    ({"modules": [], 7: 1}, "value", "has a key that is no text: 7"),
    (flow(same_worker="yes"), "value.same_worker", "must be true or false, not text"),
    (flow(concurrent_limit=0), "value.concurrent_limit", "must be 1 or more, not 0"),
    (flow(concurrent_limit=1.5), "value.concurrent_limit", "must be a whole number, not 1.5"),
    (flow(concurrent_limit=True), "value.concurrent_limit", "must be a whole number, not a boolean"),
    (flow(concurrent_limit=10**400), "value.concurrent_limit", "such a large number"),
    (flow(concurrency_time_window_s=-1), "value.concurrency_time_window_s", "must be 0 or more, not -1"),
    (flow(concurrency_key=5), "value.concurrency_key", "must be text, not a number"),
    (flow(cache_ttl=float("nan")), "value.cache_ttl", "must be 0 or more, not nan"),
    (flow(priority=101), "value.priority", "must be 0 to 100, not 101"),
    (flow(skip_expr="results.a"), "value.skip_expr", "reads results.a, and no step has run by then"),
    (flow(skip_expr=""), "value.skip_expr", "is empty"),
    (flow(flow_env=[]), "value.flow_env", "must be an object, not a list"),
    (flow(flow_env={"a b": 1}), 'value.flow_env["a b"]', "is no name"),
    (flow(flow_env={"a": {1, 2}}), "value.flow_env.a", "is a set, which is not in JSON"),
    (flow(early_return="b"), "value.early_return", 'there is no step "b"'),
    (flow(loop("a", raw("b")), early_return="b"), "value.early_return", "is not one of the flow's own"),
    (flow(notes=dt.date(2026, 1, 1)), "value.notes", "is a date, which is not in JSON"),
    (flow(notes=[float("inf")]), "value.notes[0]", "is inf, which is not in JSON"),
    (flow(notes="\ud800"), "value.notes", "is no Unicode text"),
    (flow(notes=10**5000), "value.notes", "has too many digits"),
    # ---- ids
    (flow({"value": {"type": "identity"}}), f"{M}.id", "is missing"),
    (flow(raw("a.b")), f"{M}.id", 'is "a.b"; an id has up to 100 letters'),
    (flow(raw("")), f"{M}.id", 'is ""'),
    (flow(raw("a" * 101)), f"{M}.id", "up to 100"),
    (flow(raw(3)), f"{M}.id", "must be text, not a number"),  # type: ignore[arg-type]
    (flow(raw("a"), raw("a")), "value.modules[1].id", "a is the id of value.modules[0] too"),
    (
        flow(both("x", [raw("y")], [raw("y")])),
        f"{V}.branches[1].modules[0].id",
        f"y is the id of {V}.branches[0].modules[0] too",
    ),
    (flow(raw("failure")), f"{M}.id", "failure is reserved"),
    (flow(raw("preprocessor")), f"{M}.id", "preprocessor is reserved"),
    (flow(loop("l", raw("Input"))), f"{V}.modules[0].id", "Input is reserved"),
    (flow(failure_module=raw("preprocessor")), "value.failure_module.id", "preprocessor is reserved"),
    (flow(raw("f"), failure_module=raw("f")), f"{M}.id", "f is the id of value.failure_module too"),
    # ---- kinds of steps
    (flow({"id": "a"}), V, "is missing"),
    (flow({"id": "a", "value": []}), V, "must be an object with a type, not a list"),
    (flow({"id": "a", "value": {}}), f"{V}.type", "is missing; there are rawscript, script, flow"),
    (flow({"id": "a", "value": {"type": ["x"]}}), f"{V}.type", "is ['x']; there are"),
    (flow({"id": "a", "value": {"type": 10**5000}}), f"{V}.type", "is a number; there are"),
    (flow({"id": "a", "value": {"type": "goto"}}), f"{V}.type", 'is "goto"; there are'),
    (flow({"id": "a", "value": {"type": "aiagent"}}), f"{V}.type", "step a is of type"),
    (flow({"id": "a", "value": {"type": "aidecision"}}), f"{V}.type", "AI steps are not available here"),
    (
        flow(failure_module=loop("failure")),
        "value.failure_module.value.type",
        "has to be a rawscript or a script",
    ),
    (
        flow(preprocessor_module={"id": "preprocessor", "value": {"type": "identity"}}),
        "value.preprocessor_module.value.type",
        "is identity; this module has to be",
    ),
    (
        flow(changed("a", language="go")),
        f"{V}.language",
        'step a is in "go", which is not supported; known are bun, python3',
    ),
    (flow(changed("a", language=None)), f"{V}.language", "must be text, not null"),
    (flow(lacking(raw("a"), "content")), f"{V}.content", "is missing"),
    (flow(changed("a", content="\0")), f"{V}.content", "contains a NUL character"),
    (flow(changed("a", content="\udc80")), f"{V}.content", "is no Unicode text"),
    (flow(lacking(raw("a"), "input_transforms")), f"{V}.input_transforms", "is missing"),
    (flow(changed("a", input_transforms=[])), f"{V}.input_transforms", "must be an object, not a list"),
    (flow(script("hub/7/a")), f"{V}.path", "is in Windmill's hub, which is not available here"),
    (flow(script("charge")), f"{V}.path", "does not look like f/folder/name or u/user/name"),
    (flow(script(None)), f"{V}.path", "must be text, not null"),
    (flow(lacking(loop("a"), "iterator")), f"{V}.iterator", "is missing"),
    (flow(lacking(repeat("a"), "skip_failures")), f"{V}.skip_failures", "is missing"),
    (flow(in_value(loop("a"), iterator=static(3))), f"{V}.iterator.value", "must be a list, not a number"),
    (flow(in_value(loop("a"), iterator="x")), f"{V}.iterator", "must be an object with a type, not text"),
    (flow(in_value(loop("a"), parallelism=0)), f"{V}.parallelism", "must be 1 or more, not 0"),
    (flow(in_value(loop("a"), parallelism=static("x"))), f"{V}.parallelism.value", "must be a whole number"),
    (flow(in_value(loop("a"), squash=True)), f"{V}.squash", "step a wants squash, which is not supported"),
    (flow(lacking(either("a", "1", [], []), "default")), f"{V}.default", "is missing"),
    (flow(either("a", "", [], [])), f"{V}.branches[0].expr", "is empty"),
    (flow(in_value(both("a"), branches=[3])), f"{V}.branches[0]", "must be an object, not a number"),
    (flow(in_value(both("a"), branches=[{}])), f"{V}.branches[0].modules", "is missing"),
    # ---- what a step may say
    (flow(raw("a", timeout=0)), f"{M}.timeout", "must be above 0, not 0"),
    (flow(raw("a", timeout=static("1m"))), f"{M}.timeout.value", "must be a number, not text"),
    (flow(raw("a", sleep=5)), f"{M}.sleep", "must be an object with a type, not a number"),
    (flow(raw("a", sleep=static(-5))), f"{M}.sleep.value", "must be 0 or more, not -5"),
    (flow(raw("a", skip_if={})), f"{M}.skip_if.expr", "is missing"),
    (flow(raw("a", stop_after_if={"expr": " "})), f"{M}.stop_after_if.expr", "is empty"),
    (flow(raw("a", stop_after_if={"expr": 3})), f"{M}.stop_after_if.expr", "must be text, not a number"),
    (flow(raw("a", mock={"enabled": 1})), f"{M}.mock.enabled", "must be true or false"),
    (
        flow(raw("a", suspend={"required_events": -1})),
        f"{M}.suspend.required_events",
        "must be 0 to 65535, not -1",
    ),
    (flow(raw("a", suspend={"timeout": 0})), f"{M}.suspend.timeout", "must be above 0"),
    (flow(raw("a", suspend={"resume_form": 3})), f"{M}.suspend.resume_form", "must be an object"),
    (
        flow(raw("a", suspend={"user_groups_required": static("x")})),
        f"{M}.suspend.user_groups_required.value",
        "must be a list, not text",
    ),
    (
        flow(raw("a", retry={"constant": {"attempts": 1001}})),
        f"{M}.retry.constant.attempts",
        "must be 0 to 1000",
    ),
    (
        flow(raw("a", retry={"constant": {"seconds": 1e9}})),
        f"{M}.retry.constant.seconds",
        "must be 0 to 86400",
    ),
    (
        flow(raw("a", retry={"exponential": {"attempts": 1, "seconds": 0}})),
        f"{M}.retry.exponential.seconds",
        "must be above 0",
    ),
    (
        flow(raw("a", retry={"exponential": {"random_factor": 101}})),
        f"{M}.retry.exponential.random_factor",
        "must be 0 to 100, not 101",
    ),
    (flow(raw("a", priority=-1)), f"{M}.priority", "must be 0 to 100, not -1"),
    # ---- expressions
    (flow(raw("a", "1 +")), f"{IN0}.expr", "is no JavaScript: SyntaxError: "),
    (flow(raw("a", "(1); (2")), f"{IN0}.expr", "is no JavaScript: SyntaxError: "),
    (flow(raw("a", "1); throw 1; (2")), f"{IN0}.expr", "is no JavaScript: SyntaxError: "),
    (flow(raw("a", "const x = 1; return x +")), f"{IN0}.expr", "is no JavaScript: SyntaxError: "),
    (flow(raw("a", "'\0'")), f"{IN0}.expr", "is no JavaScript: it contains a NUL character"),
    (flow(raw("a", "'\ud800'")), f"{IN0}.expr", "is no JavaScript: it is no Unicode text"),
    (flow(raw("a", "(" * 9000)), f"{IN0}.expr", "is no JavaScript: RangeError: "),
    (
        flow(changed("a", input_transforms={"x": {"type": "javascript"}})),
        f"{V}.input_transforms.x.expr",
        "is missing",
    ),
    (
        flow(changed("a", input_transforms={"x": {"type": "ai"}})),
        f"{V}.input_transforms.x",
        "step a wants a model",
    ),
    (
        flow(changed("a", input_transforms={"x": {}})),
        f"{V}.input_transforms.x.type",
        "is missing; there are static",
    ),
    (
        flow(changed("a", input_transforms={"x y": {"type": "py"}})),
        f'{V}.input_transforms["x y"].type',
        'is "py"; there are static and javascript',
    ),
    # ---- whose results
    (
        flow(raw("load"), raw("b", "results.laod")),
        "value.modules[1].value.input_transforms.in0.expr",
        "reads results.laod, and there is no step laod; did you mean load?",
    ),
    (flow(raw("a", "results['no such'] ?? 1")), f"{IN0}.expr", 'there is no step "no such"'),
    (flow(raw("a", "results.a")), f"{IN0}.expr", "step a has no result before it has run"),
    (flow(raw("a", "results.b"), raw("b")), f"{IN0}.expr", "step b runs later"),
    (
        flow(raw("a", "results.b"), loop("l", raw("b"))),
        f"{IN0}.expr",
        "step b is inside step l, which runs later",
    ),
    (
        flow(loop("l", raw("b")), raw("a", "results.b")),
        "value.modules[1].value.input_transforms.in0.expr",
        "step b is inside step l: read results.l",
    ),
    (
        flow(loop("l", both("m", [raw("b")])), raw("a", "results.b")),
        "value.modules[1].value.input_transforms.in0.expr",
        "step b is inside step l: read results.l",
    ),
    (
        flow(both("m", [raw("b")], [raw("a", "results.b")])),
        f"{V}.branches[1].modules[0].value.input_transforms.in0.expr",
        "step b is in another branch of step m",
    ),
    (
        flow(either("m", "1", [raw("b")], [raw("a", "results.b")])),
        f"{V}.default[0].value.input_transforms.in0.expr",
        "step b is in another branch of step m",
    ),
    (
        flow(either("m", "results.b", [raw("b")], [])),
        f"{V}.branches[0].expr",
        "step b is inside it and runs later",
    ),
    (
        flow(repeat("m", raw("b"), stop_after_if={"expr": "results.b"})),
        f"{M}.stop_after_if.expr",
        "step b is inside it: read result",
    ),
    (
        flow(loop("l", raw("a", "results.l"))),
        f"{V}.modules[0].value.input_transforms.in0.expr",
        "step l is around it and has not ended by then",
    ),
    (
        flow(loop("l", raw("a", "results.b"), raw("b"))),
        f"{V}.modules[0].value.input_transforms.in0.expr",
        "step b runs later",
    ),
    (flow(loop("l", raw("b"), over="results.b")), f"{V}.iterator.expr", "step b is inside it and runs later"),
    (flow(raw("a", sleep=js("results.b")), raw("b")), f"{M}.sleep.expr", "step b runs later"),
    (flow(raw("a", timeout=js("results.a"))), f"{M}.timeout.expr", "no result before it has run"),
    (flow(raw("a", skip_if={"expr": "results.a"})), f"{M}.skip_if.expr", "no result before it has run"),
    (
        flow(raw("a", "results.failure"), failure_module=raw("failure")),
        f"{IN0}.expr",
        "the failure module runs last",
    ),
    (
        flow(raw("a", "results.preprocessor"), preprocessor_module=raw("preprocessor")),
        f"{IN0}.expr",
        "what the preprocessor returns is flow_input",
    ),
    (
        flow(raw("a"), preprocessor_module=raw("preprocessor", "results.a")),
        "value.preprocessor_module.value.input_transforms.in0.expr",
        "no step has run by then",
    ),
    (
        flow(raw("a"), failure_module=raw("failure", "results.b")),
        "value.failure_module.value.input_transforms.in0.expr",
        "there is no step b",
    ),
]


@pytest.mark.parametrize(("value", "path", "message"), FAULTS, ids=[f"{f[1]} {f[2]}"[:70] for f in FAULTS])
def test_a_fault_is_named_with_its_place(value: Any, path: str, message: str) -> None:
    (fault,) = validate(value)
    assert fault.path == path
    assert message in fault.message
    assert str(fault) == f"{path}: {fault.message}"


@pytest.mark.parametrize("name", VALUES)
def test_flows_without_faults_are_decoded(name: str) -> None:
    assert validate(VALUES[name]) == []
    decode_flow(json.dumps(VALUES[name]).encode())


def test_all_faults_are_named_in_the_order_of_the_document() -> None:
    value = flow(
        raw("a", "1 +", timeout=-1),
        script("x"),
        loop("b", raw("c", "results.z"), retry=3),
        priority=-1,
        cache_ttl="",
    )
    assert [fault.path for fault in validate(value, "f")] == [
        "f.modules[0].value.input_transforms.in0.expr",
        "f.modules[0].timeout",
        "f.modules[1].id",
        "f.modules[1].value.path",
        "f.modules[2].value.modules[0].value.input_transforms.in0.expr",
        "f.modules[2].retry",
        "f.priority",
        "f.cache_ttl",
    ]


@pytest.mark.parametrize(
    "value",
    [
        flow(raw("a", stop_after_if={"expr": "results.a"}), raw("b", "results.a")),
        flow(repeat("w", raw("a", "results.a"))),
        flow(repeat("w", both("x", [raw("a", "results.a")]))),
        flow(raw("a", "'results.b' + `x`"), raw("c", "flow_input.results.b /* results.d */")),
        flow(raw("a", "const results = [1]; return results.length")),
        flow(
            raw("a", "flow_input.x;"), raw("b", "{ ...results.a }"), raw("c", "[1].map(x => { return x; })")
        ),
        flow(
            raw("a", "await variable('f/a/b')"),
            raw("b", "const r = await resource('u/a/b');\nreturn r // so"),
        ),
        flow(raw("a"), failure_module=raw("f", "results.a"), preprocessor_module=raw("p")),
        flow(in_value(loop("a"), iterator=static("$res:f/demo/list"), squash=False)),
        flow(raw("a", unknown={"deep": [None, {"x": 2**80}]}), unknown=1),
        flow(raw("a"), skip_expr=None, failure_module=None, early_return="a", flow_env={"_x$": None}),
        flow(changed("a", input_transforms={"type": static(1), "": static(None), "x": {"type": "static"}})),
    ],
)
def test_no_fault(value: Any) -> None:
    assert validate(value) == []
    decode_flow(json.dumps(value).encode())


def test_other_languages_can_be_supported() -> None:
    assert validate(flow(changed("a", language="go")), languages={"go"}) == []


def test_what_contains_itself_is_one_fault() -> None:
    value = yaml.safe_load("modules: &all [{id: a, value: {type: forloopflow, modules: *all}}]")
    assert [str(fault) for fault in validate(value)] == ["value: is nested deeper than 100 levels"]


def test_ten_in_ten_in_ten_is_one_fault() -> None:
    bomb: Any = ["x"] * 10
    for _ in range(30):
        bomb = [bomb] * 10
    (fault,) = validate(flow(notes=bomb))
    assert fault.message == f"has more than {MOST_VALUES:,} values"


@pytest.mark.parametrize("part", ["/*", '"\\"', "'", "//", "results ", "results?.[", "results.a "])
def test_long_expressions_take_no_time(part: str) -> None:
    steps_read("`" + part * 100_000 + "`")


def test_thousands_of_faults_take_no_time() -> None:
    faults = validate(flow(*[raw(f"step{n}", f"results.stop{n}") for n in range(2000)]))
    assert len(faults) == 2000
    assert "did you mean" in faults[0].message


def test_depth() -> None:
    deep: Any = 1
    for _ in range(98):
        deep = [deep]
    assert validate(flow(notes=deep)) == []
    assert len(validate(flow(notes=[[[deep]]]))) == 1
    for _ in range(100_000):
        deep = {"x": deep}
    assert len(validate(deep)) == 1
    while isinstance(deep, dict):  # not left to the destructor's recursion
        deep = deep.pop("x")


def test_nothing_of_an_expression_runs() -> None:
    assert syntax_error("(() => { while (true); })()") is None
    assert syntax_error("1)}; while (true); (() => { (2") is not None
    assert syntax_error("1\n)}]; while (true); [() => { (2") is not None


@pytest.mark.parametrize(
    ("expr", "ids"),
    [
        ("results.a", ["a"]),
        ("results?.a?.b", ["a"]),
        ("results['a-b'] + results?.[\"c\"]", ["a-b", "c"]),
        ("results . a\n+ results.a + results.b", ["a", "b"]),
        ("[...results.a]", ["a"]),
        ("x.results.a + myresults.b + results2.c", []),
        ("'results.a' + \"results.b\" // results.c", []),
        ("`${results.a}`", ["a"]),
        ("results[flow_input.x] + results.a", ["a"]),
        ("results[0]", []),
        ("`don't ${results.a}`", ["a"]),
        ("`/*` + results.a", []),
        ("Object.keys(results).length + results.a", []),
    ],
)
def test_the_ids_that_an_expression_reads(expr: str, ids: list[str]) -> None:
    assert steps_read(expr) == ids


# ---------------------------------------------------------------- anything at all

WORDS = st.sampled_from(
    """
    modules value id type expr input_transforms content language path branches default iterator retry
    skip_failures suspend timeout a b load results.a 1+ javascript static rawscript script flow identity
    forloopflow whileloopflow branchone branchall aiagent
    """.split()  # noqa: SIM905
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | WORDS
    | st.just(2**70)
    | st.just(dt.date(2026, 1, 1))
)
JSONS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=30,
)


@settings(deadline=None)
@given(JSONS)
def test_anything_can_be_validated(value: Any) -> None:
    faults = validate(value)
    if not faults:
        decode_flow(json.dumps(value).encode())


@settings(deadline=None)
@given(JSONS, JSONS)
def test_any_modules_can_be_validated(first: Any, second: Any) -> None:
    module = {"id": "a", "value": {"type": "branchone", "branches": [first], "default": second}}
    validate(flow(first, second, module, failure_module=first, preprocessor_module=second, skip_expr=first))


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a value with every key in it."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(item, dict | list):
            yield from places(item)


COUNT = sum(1 for _ in places(BIG))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, COUNT - 1), st.sampled_from(["set", "drop", "swap"]), JSONS),
        min_size=1,
        max_size=3,
    )
)
def test_a_changed_flow_has_faults_or_is_decoded(changes: list[tuple[int, str, Any]]) -> None:
    value = copy.deepcopy(BIG)
    for index, change, other in changes:
        found = list(places(value))
        container, key = found[index % len(found)]
        if change == "set":
            container[key] = other
        elif change == "drop":
            del container[key]
        else:
            elsewhere, its = found[(index * 31 + 7) % len(found)]
            container[key] = copy.deepcopy(elsewhere[its])
        if not list(places(value)):
            break
    faults = validate(value)
    assert faults == validate(value)
    if not faults:
        decode_flow(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("struct", "known"),
    [
        (definition.FlowValue, shapes.FLOW),
        (definition.Module, shapes.MODULE),
        (definition.Suspend, settings_.SUSPEND),
        (definition.ModuleRetry, settings_.RETRY),
        (definition.Choice, shapes.CHOICE),
        (definition.Branch, shapes.BRANCH),
        *(
            (struct, shapes.VALUES[struct.__struct_config__.tag][0])
            for struct in get_args(definition.ModuleValue)
        ),
    ],
)
def test_whatever_is_decoded_is_checked(struct: type[Struct], known: dict[str, Any]) -> None:
    assert set(struct.__struct_fields__) <= set(known)


def test_steps_are_found_in_anything() -> None:
    assert Steps([], "value").by_id == {}
    assert list(Steps({"modules": [3, {"id": 3}, {"id": "a", "value": 3}]}, "value").by_id) == ["a"]
