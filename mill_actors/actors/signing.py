"""Tokens for jobs: one signature each, one statement for many."""

from __future__ import annotations

from collections.abc import Callable
from time import time

from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.token import Statement, signer

#: A token is worth something while its job is open, and this long at most.
LIFE_SECONDS = 7 * 86_400
#: Statements are renewed this often.
RENEW_SECONDS = 3600


class Signing:
    """The signers one Runner uses, by who the job runs as."""

    def __init__(self, key_of: Callable[[str], bytes]) -> None:
        self._key_of = key_of
        self._signers: dict[tuple[str, str], Callable[[str], str]] = {}
        self._made_at = time()

    def sign(self, job: ClaimedJob) -> str:
        """Return the job's WM_TOKEN."""
        who = (job.workspace, job.created_by)
        sign = self._signers.get(who)
        if sign is None:
            sign = self._make(*who)
        return sign(job.id)

    def renew(self) -> None:
        """Forget statements that have grown old; called now and then."""
        if time() - self._made_at > RENEW_SECONDS:
            self._signers.clear()
            self._made_at = time()

    def _make(self, workspace: str, runs_as: str) -> Callable[[str], str]:
        statement = Statement(workspace, runs_as, int(time()) + LIFE_SECONDS)
        made = signer(self._key_of(workspace), statement)
        self._signers[workspace, runs_as] = made
        return made
