"""A flow made ready to run: its sequences by address, and what is known before any run.

A *body* is one sequence of modules: the flow's own (address ""), a loop's (`c`), a branch's (`d.0` is
the default of a branchone or the first of a branchall, `d.1` the next). Each body that runs is a job
of its own with a state of its own; one that consists of a single plain script is run without.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Literal

from mill_actors.flows.definition import (
    BranchAll,
    BranchOne,
    FlowStep,
    FlowValue,
    ForLoop,
    Identity,
    InputTransform,
    Javascript,
    Module,
    RawScript,
    ScriptStep,
    WhileLoop,
    decode_flow,
)
from mill_actors.flows.expressions import references

Role = Literal["flow", "iteration", "branch"]

FAILURE = "failure"
PREPROCESSOR = "preprocessor"


class Step:
    """A module in its place."""

    def __init__(self, module: Module, index: int, body: Body) -> None:
        self.module = module
        self.id = module.id
        self.index = index
        self.body = body
        value = module.value
        self.is_leaf = isinstance(value, RawScript | ScriptStep)
        self.is_loop = isinstance(value, ForLoop | WhileLoop)
        #: Whether its result is an array, made of its children's.
        self.is_many = self.is_loop or isinstance(value, BranchAll)
        #: A while loop never is: what it says about it is not heard, as in Windmill.
        self.is_parallel = isinstance(value, ForLoop | BranchAll) and value.parallel
        self.bodies: tuple[Body, ...] = tuple(self._inner())

    def _inner(self) -> Iterator[Body]:
        value = self.module.value
        match value:
            case ForLoop() | WhileLoop():
                yield Body(self.body.flow, self.id, value.modules, "iteration", self)
            case BranchOne(branches, default):
                for number, modules in enumerate([default, *(branch.modules for branch in branches)]):
                    yield Body(self.body.flow, f"{self.id}.{number}", modules, "branch", self)
            case BranchAll(branches):
                for number, branch in enumerate(branches):
                    yield Body(self.body.flow, f"{self.id}.{number}", branch.modules, "branch", self)
            case _:
                pass

    def inner(self, iteration: int) -> Body:
        """Return the body of an iteration or a branch."""
        return self.bodies[0 if self.is_loop else iteration]

    @cached_property
    def carries_on(self) -> bool:
        """Whether an iteration sees the result of the one before as `previous_result`: Windmill's rule."""
        inner = self.bodies[0]
        if not self.is_loop or self.is_parallel or not inner.is_direct:
            return False
        return inner.steps[0].module.cache_ttl is None


class Body:
    """One sequence of modules."""

    def __init__(
        self, flow: Program, address: str, modules: list[Module], role: Role, owner: Step | None
    ) -> None:
        self.flow = flow
        self.address = address
        self.role = role
        self.owner = owner
        self.parent: Body | None = None if owner is None else owner.body
        self.steps = [Step(module, index, self) for index, module in enumerate(modules)]
        self.by_id = {step.id: step for step in self.steps}
        flow.bodies[address] = self

    @cached_property
    def is_direct(self) -> bool:
        """Whether it is one plain script, which runs without a state of its own."""
        if len(self.steps) != 1 or not self.steps[0].is_leaf or self.flow.failure is not None:
            return False
        module = self.steps[0].module
        return not (
            module.stop_after_if
            or module.stop_after_all_iters_if
            or module.skip_if
            or module.sleep
            or module.suspend
            or module.continue_on_error
            or module.retry
            or module.delete_after_use
            or module.delete_after_secs is not None
            or (module.mock and module.mock.enabled)
        )

    def step(self, name: str) -> Step | None:
        """Return a step of this body, or the flow's failure or preprocessor module."""
        found = self.by_id.get(name)
        if found is not None:
            return found
        if name == FAILURE:
            return self.flow.failure
        return self.flow.preprocessor if name == PREPROCESSOR else None

    def levels_up(self, name: str) -> int | None:
        """Return how many bodies outwards a step is whose result may be read here; None: nowhere.

        Further out only what came before: the step around this body is not over.
        """
        if name == FAILURE or (name == PREPROCESSOR and self.role == "flow"):
            return 0
        body: Body | None = self
        level, end = 0, len(self.steps)
        while body is not None:
            found = body.by_id.get(name)
            if found is not None:
                return level if found.index < end else None
            if body.owner is not None:
                end = body.owner.index
            body = body.parent
            level += 1
        return None

    @cached_property
    def has_iter(self) -> bool:
        """Whether it runs inside a loop, and so has a `flow_input.iter`."""
        return self.role == "iteration" or (self.parent is not None and self.parent.has_iter)


class Program:
    """A flow's `value`, with its bodies by address."""

    def __init__(self, value: FlowValue) -> None:
        self.value = value
        self.bodies: dict[str, Body] = {}
        outside = Body.__new__(Body)
        outside.flow, outside.address, outside.role, outside.owner, outside.parent = (
            self,
            "",
            "flow",
            None,
            None,
        )
        outside.steps, outside.by_id = [], {}
        self.failure: Step | None = None
        self.preprocessor: Step | None = None
        if value.failure_module is not None:
            self.failure = Step(_named(value.failure_module, FAILURE), -1, outside)
        if value.preprocessor_module is not None:
            self.preprocessor = Step(_named(value.preprocessor_module, PREPROCESSOR), -1, outside)
        self.root = Body(self, "", _with_gate(value.modules), "flow", None)

    def steps(self) -> Iterator[Step]:
        """Every step, innermost ones too."""
        for body in self.bodies.values():
            yield from body.steps
        for step in (self.failure, self.preprocessor):
            if step is not None:
                yield step

    @cached_property
    def read_anywhere(self) -> frozenset[str] | None:
        """The ids of steps whose result some expression names; None: any, computed names are read."""
        names: set[str] = set()
        for step in self.steps():
            for expr in _expressions(step.module):
                found = references(expr)
                if found.dynamic:
                    return None
                names |= {
                    name.removeprefix("results.") for name in found.names if name.startswith("results.")
                }
        return frozenset(names)

    @cached_property
    def forgets(self) -> dict[str, float]:
        """Steps whose arguments and result are deleted, and how many seconds after the flow's end."""
        found = {}
        for step in self.steps():
            module = step.module
            if module.delete_after_secs is not None:
                found[step.id] = module.delete_after_secs
            elif module.delete_after_use:
                found[step.id] = 0.0
        return found


def compile_flow(text: bytes) -> Program:
    """Make a flow's `value`, as JSON, ready to run."""
    return Program(decode_flow(text))


def _with_gate(modules: list[Module]) -> list[Module]:
    """A pause or an approval after the last step gates the end of the flow, as a step that does nothing."""
    if not modules or (modules[-1].sleep is None and modules[-1].suspend is None):
        return modules
    return [*modules, Module(id=f"{modules[-1].id}-v", value=Identity())]


def _named(module: Module, name: str) -> Module:
    if module.id == name:
        return module
    return Module(**{f: getattr(module, f) for f in module.__struct_fields__} | {"id": name})


def _expressions(module: Module) -> Iterator[str]:
    value = module.value
    transforms: list[InputTransform | int | float | None] = [module.sleep, module.timeout]
    if not isinstance(value, Identity | ForLoop | WhileLoop | BranchOne | BranchAll):
        transforms += value.input_transforms.values()
    if isinstance(value, ForLoop):
        transforms += [value.iterator, value.parallelism]
    for transform in transforms:
        if isinstance(transform, Javascript):
            yield transform.expr
    for predicate in (module.stop_after_if, module.stop_after_all_iters_if, module.skip_if):
        if predicate is not None:
            yield predicate.expr
    if module.retry is not None and module.retry.retry_if is not None:
        yield module.retry.retry_if.expr
    if isinstance(value, BranchOne):
        for branch in value.branches:
            yield branch.expr


__all__ = ["Body", "FlowStep", "Program", "Step", "compile_flow"]
