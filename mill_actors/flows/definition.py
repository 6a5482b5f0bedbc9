"""A flow as its author wrote it: OpenFlow, as structs. Unknown fields are accepted; the text is kept.

The format is Windmill's (`openflow.openapi.yaml` of its repository); `docs/flows.md` says what each
field does here. Decode only what `flows.validation` has found without faults.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from mill_actors.jobs.retry import ConstantRetry, ExponentialRetry

_NULL = Raw(b"null")


class Static(Struct, frozen=True, tag="static"):
    """A value as it stands; `$var:` and `$res:` in it are filled in where the job runs."""

    value: Raw = _NULL


class Javascript(Struct, frozen=True, tag="javascript"):
    """An expression over what the flow knows by then."""

    expr: str


class ByAi(Struct, frozen=True, tag="ai"):
    """Filled in by a model: refused at deploy."""


InputTransform = Static | Javascript | ByAi
Transforms = dict[str, InputTransform]


class Predicate(Struct, frozen=True):
    """`skip_if`, `retry_if`."""

    expr: str


class StopAfterIf(Struct, frozen=True):
    """When to stop after a step; `error_message`: None is no error, "" a default text."""

    expr: str
    skip_if_stopped: bool = False
    error_message: str | None = None
    error_include_result: bool = False


class Constant(ConstantRetry, frozen=True, forbid_unknown_fields=False):
    """Tries with the same delay; unlike in a script's options, other fields may stand beside."""


class Exponential(ExponentialRetry, frozen=True, forbid_unknown_fields=False):
    """Tries with a growing delay; other fields may stand beside."""


class ModuleRetry(Struct, frozen=True):
    """How often and how late a module is tried again."""

    constant: Constant | None = None
    exponential: Exponential | None = None
    retry_if: Predicate | None = None


class Mock(Struct, frozen=True):
    """A result instead of a run."""

    enabled: bool = False
    return_value: Raw = _NULL


class Suspend(Struct, frozen=True):
    """Approvals that the next step waits for; `timeout` in seconds."""

    required_events: int = 0
    timeout: float | None = None
    resume_form: Any = None
    user_auth_required: bool = False
    user_groups_required: InputTransform | None = None
    self_approval_disabled: bool = False
    hide_cancel: bool = False
    continue_on_disapprove_timeout: bool = False


class RawScript(Struct, frozen=True, tag="rawscript"):
    """Code of the flow's own."""

    content: str
    language: str
    input_transforms: Transforms = {}
    path: str | None = None
    tag: str | None = None
    concurrent_limit: int | None = None
    concurrency_time_window_s: float | None = None
    custom_concurrency_key: str | None = None


class ScriptStep(Struct, frozen=True, tag="script"):
    """A deployed script; without `hash` the version its path means when the step starts."""

    path: str
    input_transforms: Transforms = {}
    hash: str | None = None
    tag_override: str | None = None


class FlowStep(Struct, frozen=True, tag="flow"):
    """A deployed flow as one step."""

    path: str
    input_transforms: Transforms = {}


class ForLoop(Struct, frozen=True, tag="forloopflow"):
    """The modules once an item."""

    modules: list[Module]
    iterator: InputTransform
    skip_failures: bool = False
    parallel: bool = False
    parallelism: InputTransform | int | None = None


class WhileLoop(Struct, frozen=True, tag="whileloopflow"):
    """The modules again and again, until something stops them."""

    modules: list[Module]
    skip_failures: bool = False
    parallel: bool = False
    parallelism: InputTransform | int | None = None


class Choice(Struct, frozen=True):
    """A branch that runs if it is the first whose expression is true."""

    expr: str
    modules: list[Module] = []
    summary: str = ""


class BranchOne(Struct, frozen=True, tag="branchone"):
    """One branch of several."""

    branches: list[Choice]
    default: list[Module] = []


class Branch(Struct, frozen=True):
    """A branch that always runs."""

    modules: list[Module] = []
    skip_failure: bool = False
    summary: str = ""


class BranchAll(Struct, frozen=True, tag="branchall"):
    """Every branch."""

    branches: list[Branch]
    #: Windmill's own default
    parallel: bool = True


class Identity(Struct, frozen=True, tag="identity"):
    """Passes the previous result on."""

    flow: bool = False


ModuleValue = RawScript | ScriptStep | FlowStep | ForLoop | WhileLoop | BranchOne | BranchAll | Identity


class Module(Struct, frozen=True):
    """A step."""

    id: str
    value: ModuleValue
    summary: str = ""
    stop_after_if: StopAfterIf | None = None
    stop_after_all_iters_if: StopAfterIf | None = None
    skip_if: Predicate | None = None
    sleep: InputTransform | None = None
    timeout: InputTransform | float | None = None
    cache_ttl: float | None = None
    delete_after_use: bool = False
    delete_after_secs: float | None = None
    mock: Mock | None = None
    suspend: Suspend | None = None
    priority: int | None = None
    continue_on_error: bool = False
    retry: ModuleRetry | None = None


class FlowValue(Struct, frozen=True):
    """What a flow does."""

    modules: list[Module]
    failure_module: Module | None = None
    preprocessor_module: Module | None = None
    same_worker: bool = False
    preserve_step_tags: bool = False
    concurrent_limit: int | None = None
    concurrency_key: str | None = None
    concurrency_time_window_s: float | None = None
    skip_expr: str | None = None
    cache_ttl: float | None = None
    delete_after_secs: float | None = None
    flow_env: dict[str, Raw] = {}
    priority: int | None = None
    early_return: str | None = None


def decode_flow(text: bytes) -> FlowValue:
    """Return the structs of a flow's `value`, as JSON; raise `msgspec.ValidationError`."""
    return _decoder.decode(text)


_decoder = msgspec.json.Decoder(FlowValue)
