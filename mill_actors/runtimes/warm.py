"""A warm process as its Runner holds it: the port, the permits, what it prints, its folder."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import psutil

from mill_actors.config import Config
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.script import Script
from mill_actors.runtimes.capture import Capture
from mill_actors.runtimes.code import CodeCache
from mill_actors.runtimes.environment import (
    clean_environment,
    job_variables,
    script_variables,
    step_variables,
)
from mill_actors.runtimes.frames import Init, encode_init
from mill_actors.runtimes.languages import LANGUAGES
from mill_actors.runtimes.permits import Permits
from mill_actors.runtimes.shared import SharedFolders
from supervisors import Port, ProcessRef

#: Room in a reply beside the result itself: ids, numbers, quotes.
FRAME_BYTES = 64 * 1024
#: Answers that come faster than this are read together (bench drain: 4 → 40 a message).
COALESCE_SECONDS = 0.0005


class WarmProcess:
    """Started by `start_process`; used from its Runner's thread."""

    def __init__(self, port: Port, permits: Permits, capture: Capture, scratch: Path) -> None:
        self._port = port
        self.pid = port.pid
        self.permits = permits
        self.capture = capture
        self._scratch = scratch
        self.send = port.send
        self.kill = port.kill
        self.wait = port.wait

    @staticmethod
    def identity(job: ClaimedJob) -> dict[str, str]:
        """Return the variables that say for whom a job runs: those of its context."""
        return job_variables(
            created_by=job.created_by.removeprefix("u/"), permissioned_as=job.created_by, email=None
        )

    @staticmethod
    def variables(job: ClaimedJob) -> dict[str, str] | None:
        """Return the variables of this job alone, for its run frame; None for one that is no flow's step."""
        parent = job.parent_job
        if parent is None or job.step is None:
            return None
        return step_variables(
            flow_job_id=parent,
            root_flow_job_id=job.root_job or parent,
            step_id=job.step,
            flow_path=job.flow_path,
            shared=job.shared,
        )

    def memory_bytes(self) -> int:
        """Return the resident memory of the process and its children; 0 if it is gone."""
        try:
            process = psutil.Process(self.pid)
            total: int = process.memory_info().rss
            for child in process.children(recursive=True):
                try:
                    total += child.memory_info().rss
                except psutil.Error:
                    continue
        except psutil.Error:
            return 0
        return total

    def close(self) -> None:
        """Release what outlives the process: descriptors and its folder."""
        self.permits.close()
        self.capture.close()
        CodeCache.remove_scratch(self._scratch)


def shared_folders(config: Config) -> SharedFolders:
    """Return where a node keeps the folders that the steps of a flow share."""
    name = config.node.job_user
    user = None if name is None else pwd.getpwnam(name)
    return SharedFolders(config.node.work_dir, None if user is None else (user.pw_uid, user.pw_gid))


def start_process(owner: ProcessRef[Any], script: Script, config: Config) -> WarmProcess:
    """Start the process of a script; its frames reach `owner`, first of them `ready` or `broken`.

    Raises `InterpreterNotFound`, and OSError if the process can't be started.
    """
    language = LANGUAGES[script.language]
    node, worker = config.node, config.worker
    user = pwd.getpwnam(node.job_user) if node.job_user is not None else None
    code = CodeCache(Path(node.work_dir) / "code")
    file = code.script(script.workspace, script.hash, script.path, language, script.content)
    environment = clean_environment(os.environ, node.pass_env)
    if user is not None:
        environment |= {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
    scratch = code.scratch(None if user is None else (user.pw_uid, user.pw_gid))
    permits = Permits()
    capture = Capture()
    try:
        port = Port.open(
            owner,
            language.command(
                permits=permits.fd,
                interpreter=node.python if language.name == "python3" else node.bun,
                bootstrap=code.bootstrap(),
                memory_mb=worker.memory_mb,
            ),
            env=environment,
            cwd=str(scratch),
            stderr=capture.fd,
            pass_fds=(permits.fd,),
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else (),
            max_frame_bytes=worker.max_result_bytes + FRAME_BYTES,
            coalesce_seconds=COALESCE_SECONDS,
        )
    except BaseException:
        permits.close()
        capture.close()
        code.remove_scratch(scratch)
        raise
    process = WarmProcess(port, permits, capture, scratch)
    variables = script_variables(
        workspace=script.workspace,
        path=script.path,
        script_hash=script.hash,
        worker_group="default",
        base_url=config.server.base_url or "",
    )
    process.send(
        encode_init(
            Init(
                script=str(file),
                path=script.path,
                env={name: value for name, value in variables.items() if value},
                max_result_bytes=worker.max_result_bytes,
                arguments=script.options.arguments,
            )
        )
    )
    return process
