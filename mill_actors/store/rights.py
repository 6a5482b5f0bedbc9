"""Who may do what: pure rules over what the database says of somebody.

An admin may do all in his workspace. `u/NAME/…` belongs to NAME, `g/GROUP/…` to its members. `f/FOLDER/…`
belongs to the folder's owners, may be written by whom `extra_perms` says true of, and read by whom it names
at all; what has `extra_perms` of its own adds to that. Operators run and read, and change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct

from mill_actors.store.access import (
    Folder,
    Member,
    account_by_email,
    folder_rights,
    member_by_username,
)
from mill_actors.store.connection import Connection

Action = Literal["read", "run", "write"]
#: A folder's rights, least first.
LEVELS = ("none", "read", "write", "own")
#: The group that everybody is in.
EVERYBODY = "all"

_NOTHING: Mapping[str, bool] = {}


class Rights(Struct, frozen=True):
    """What somebody may do in a workspace."""

    username: str
    is_admin: bool = False
    is_operator: bool = False
    groups: tuple[str, ...] = ()
    #: what folders he may read, write, own
    folders: Mapping[str, str] = {}
    #: False for whoever is no member (any more)
    is_anybody: bool = True

    @property
    def names(self) -> frozenset[str]:
        """What owners and extra_perms may call him."""
        if not self.is_anybody:
            return frozenset()
        return frozenset({f"u/{self.username}", *(f"g/{name}" for name in (*self.groups, EVERYBODY))})

    def may(self, action: Action, path: str, extra_perms: Mapping[str, bool] = _NOTHING) -> bool:
        """Whether he may read, run or write what has this path, and these rights of its own."""
        if self.is_admin:
            return True
        if not self.is_anybody or (action == "write" and self.is_operator):
            return False
        if extra_perms:
            named = self.names.intersection(extra_perms)
            if named and (action != "write" or any(extra_perms[name] for name in named)):
                return True
        kind, _, rest = path.partition("/")
        name = rest.partition("/")[0]
        if kind == "u":
            return name == self.username
        if kind == "g":
            return name in self.groups or (name == EVERYBODY and action != "write")
        if kind == "f":
            level = LEVELS.index(self.folders.get(name, "none"))
            return level >= LEVELS.index("write" if action == "write" else "read")
        # Previews, and whatever else belongs to nobody.
        return True

    def owns(self, path: str) -> bool:
        """Whether he says who may do what with what has this path."""
        if self.is_admin:
            return True
        kind, _, rest = path.partition("/")
        name = rest.partition("/")[0]
        if self.is_operator or not self.is_anybody:
            return False
        return self.folders.get(name) == "own" if kind == "f" else kind == "u" and name == self.username

    @property
    def readable(self) -> list[str] | None:
        """Return prefixes of all paths that he may read; None: all."""
        if self.is_admin:
            return None
        if not self.is_anybody:
            return []
        return [
            f"u/{self.username}/",
            *(f"g/{group}/" for group in sorted({*self.groups, EVERYBODY})),
            *(f"f/{folder}/" for folder, level in self.folders.items() if level != "none"),
        ]


def folder_levels(names: Iterable[str], folders: Iterable[Folder]) -> dict[str, str]:
    """Return what somebody with these names (`u/NAME`, `g/NAME`) may do in each folder."""
    names = {*names, f"g/{EVERYBODY}"}
    levels = {}
    for folder in folders:
        if names.intersection(folder.owners):
            levels[folder.name] = "own"
        elif any(folder.extra_perms.get(name) for name in names):
            levels[folder.name] = "write"
        elif names.intersection(folder.extra_perms):
            levels[folder.name] = "read"
    return levels


def member_rights(member: Member, levels: Mapping[str, str]) -> Rights:
    """Return the rights of a member whose folders are known."""
    return Rights(
        member.username,
        is_admin=member.role == "admin" or member.is_superadmin,
        is_operator=member.role == "operator",
        groups=member.groups,
        folders=levels,
    )


def rights_of(connection: Connection, workspace: str, owner: str) -> Rights:
    """Return what `u/NAME` may do, by what the database says now; nothing if he is no member (any more)."""
    username = owner.removeprefix("u/")
    member = member_by_username(connection, workspace, username)
    if member is None:
        account = account_by_email(connection, username)
        is_superadmin = account is not None and account.is_superadmin
        return Rights(username, is_admin=is_superadmin, is_anybody=is_superadmin)
    if member.disabled:
        return Rights(username, is_anybody=False)
    names = {f"u/{member.username}", *(f"g/{group}" for group in member.groups)}
    return member_rights(member, folder_levels(names, folder_rights(connection, workspace)))
