"""Whoever sends a request, and what he may do: the rules are those of `store/rights.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from mill_actors.api.problems import Problem
from mill_actors.errors import FlowNotFound, ScriptNotFound
from mill_actors.store.access import Account, Member
from mill_actors.store.rights import Action, Rights


class Principal(Struct, frozen=True):
    """Whoever sends a request, and what he is in the workspace that it is about."""

    account: Account
    #: None outside a workspace
    member: Member | None = None
    workspace: str = ""
    #: what folders he may read, write, own
    folders: Mapping[str, str] = {}
    #: of a WM_TOKEN: the job that it was given to
    job: str | None = None

    @property
    def username(self) -> str:
        """What he is called here."""
        return self.member.username if self.member is not None else self.account.email

    @property
    def owner(self) -> str:
        """The same as the owner of a path."""
        return f"u/{self.username}"

    @property
    def is_admin(self) -> bool:
        """Whether he may do all in this workspace."""
        return self.account.is_superadmin or (self.member is not None and self.member.role == "admin")

    @property
    def is_operator(self) -> bool:
        """Whether he may only run and read."""
        return not self.is_admin and self.member is not None and self.member.role == "operator"

    @property
    def rights(self) -> Rights:
        """What he may do here."""
        groups = () if self.member is None else self.member.groups
        return Rights(self.username, self.is_admin, self.is_operator, groups, self.folders)

    def may(self, action: Action, path: str, extra_perms: Mapping[str, bool] | None = None) -> bool:
        """Whether he may read, run or write what has this path."""
        return self.rights.may(action, path, extra_perms or {})

    def need(self, action: Action, path: str, extra_perms: Mapping[str, bool] | None = None) -> None:
        """Raise a 403 `Problem` if he may not."""
        if not self.may(action, path, extra_perms):
            raise Problem(403, "forbidden", f"{self.owner} may not {action} {path}.", path)

    def need_item(self, domain: str, action: Action, path: str, extra_perms: Mapping[str, bool]) -> None:
        """Raise a 403 `Problem` if he may not, or his token may not, what has rights of its own."""
        self.need(action, path, extra_perms)
        if not scope_allows(self.account.scopes, domain, action, path):
            raise Problem(403, "forbidden", f"The token's scopes do not allow to {action} {path}.", path)

    def need_run(self, kind: str, path: str) -> None:
        """Raise a 403 `Problem` if he may not, or his token may not, start a `script` or a `flow`."""
        self.need("run", path)
        if not scope_allows(self.account.scopes, "jobs", "run", f"{kind}s:{path}"):
            raise Problem(403, "forbidden", f"The token's scopes do not allow to run {path}.", path)

    def need_admin(self) -> None:
        """Raise a 403 `Problem` unless he is an admin here."""
        if not self.is_admin:
            raise Problem(403, "forbidden", f"{self.owner} is no admin of {self.workspace}.")

    def need_superadmin(self) -> None:
        """Raise a 403 `Problem` unless he is one, with a token that is good everywhere."""
        if not self.account.is_superadmin or self.account.workspace is not None:
            raise Problem(403, "forbidden", f"{self.account.email} is no superadmin.")

    @property
    def readable(self) -> list[str] | None:
        """Return prefixes of all paths that he may read; None: all."""
        return self.rights.readable


#: Whoever has no token, or none that is good.
NOBODY = Principal(Account("", None, is_superadmin=False))


def as_told(error: Exception, who: Principal) -> Exception:
    """Return an error as somebody may have it: it guesses at no path that he cannot know to be there."""
    if not isinstance(error, ScriptNotFound | FlowNotFound):
        return error
    similar = [path for path in error.similar if who.may("read", path)]
    return type(error)(error.workspace, error.path, similar)


def scope_allows(scopes: Iterable[str] | None, domain: str, action: str, path: str = "") -> bool:
    """Whether a token's scopes allow an action, as Windmill writes them.

    `jobs:run`, `jobs:read`, `scripts:write:f/billing/*`, `jobs:run:flows:f/billing/*`; `*` is everything. A
    scope without a path is good for all; write includes read.
    """
    if scopes is None:
        return True
    for scope in scopes:
        named, _, rest = scope.partition(":")
        verb, _, place = rest.partition(":")
        if named in {"*", domain} and (verb in {"", "*", action} or (verb, action) == ("write", "read")):
            kinds, _, pattern = place.partition(":")
            if not pattern:
                kinds, pattern = "", place
            wanted, _, name = path.partition(":")
            if not name:
                wanted, name = "", path
            if kinds and wanted and kinds not in {"*", wanted}:
                continue
            if any(_covers(each, name) for each in pattern.split(",")):
                return True
    return False


def scope_within(scopes: Iterable[str] | None, wanted: str) -> bool:
    """Whether scopes allow all that `wanted` allows: what a token may hand on."""
    if scopes is None:
        return True
    domain, verb, kinds, patterns = _parts(wanted)
    return all(
        any(
            own_domain in {"*", domain}
            and (own_verb in {"", "*", verb} or (own_verb, verb) == ("write", "read"))
            and (not own_kinds or own_kinds in {"*", kinds})
            and any(_includes(own, pattern) for own in own_patterns)
            for own_domain, own_verb, own_kinds, own_patterns in map(_parts, scopes)
        )
        for pattern in patterns
    )


def _parts(scope: str) -> tuple[str, str, str, list[str]]:
    domain, _, rest = scope.partition(":")
    verb, _, place = rest.partition(":")
    kinds, _, pattern = place.partition(":")
    if not pattern:
        kinds, pattern = "", place
    return domain, verb, kinds, pattern.split(",")


def _includes(pattern: str, other: str) -> bool:
    if pattern in {"", "*", other}:
        return True
    if not pattern.endswith("*"):
        return False
    return bool(other) and other.startswith(pattern.removesuffix("*"))


def _covers(pattern: str, path: str) -> bool:
    if pattern in {"", "*", path}:
        return True
    return pattern.endswith("*") and path.startswith(pattern.removesuffix("*"))
