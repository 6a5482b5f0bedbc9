"""Who may do what: pure rules over what the database says of somebody.

An admin may do all in his workspace. `u/NAME/…` belongs to NAME. `f/FOLDER/…` belongs to its owners,
may be written by whom `extra_perms` says true of, and read by whom it names at all. Operators run and read,
and change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct

from mill_actors.api.problems import Problem
from mill_actors.store.access import Account, Folder, Member

Action = Literal["read", "run", "write"]
#: A folder's rights, least first.
LEVELS = ("none", "read", "write", "own")


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

    def may(self, action: Action, path: str) -> bool:
        """Whether he may read, run or write what has this path."""
        if self.is_admin:
            return True
        kind, _, rest = path.partition("/")
        name = rest.partition("/")[0]
        if action == "write" and self.is_operator:
            return False
        if kind == "u":
            return name == self.username
        if kind == "g":
            return self.member is not None and name in self.member.groups
        if kind == "f":
            level = LEVELS.index(self.folders.get(name, "none"))
            return level >= LEVELS.index("write" if action == "write" else "read")
        # Previews, and whatever else belongs to nobody.
        return True

    def need(self, action: Action, path: str) -> None:
        """Raise a 403 `Problem` if he may not."""
        if not self.may(action, path):
            raise Problem(403, "forbidden", f"{self.owner} may not {action} {path}.", path)

    def need_admin(self) -> None:
        """Raise a 403 `Problem` unless he is an admin here."""
        if not self.is_admin:
            raise Problem(403, "forbidden", f"{self.owner} is no admin of {self.workspace}.")

    @property
    def readable(self) -> list[str] | None:
        """Return prefixes of all paths that he may read; None: all."""
        if self.is_admin:
            return None
        groups = () if self.member is None else self.member.groups
        return [
            f"u/{self.username}/",
            *(f"g/{group}/" for group in groups),
            *(f"f/{folder}/" for folder, level in self.folders.items() if level != "none"),
        ]


def folder_levels(member: Member, folders: Iterable[Folder]) -> dict[str, str]:
    """Return what a member may do in each folder."""
    names = {f"u/{member.username}", *(f"g/{group}" for group in (*member.groups, "all"))}
    levels = {}
    for folder in folders:
        if names.intersection(folder.owners):
            levels[folder.name] = "own"
        elif any(folder.extra_perms.get(name) for name in names):
            levels[folder.name] = "write"
        elif names.intersection(folder.extra_perms):
            levels[folder.name] = "read"
    return levels


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


def _covers(pattern: str, path: str) -> bool:
    if pattern in {"", "*", path}:
        return True
    return pattern.endswith("*") and path.startswith(pattern.removesuffix("*"))
