// The file descriptors of a process. The launcher hands over 3 (frames in), 4 (answers out),
// 0 (/dev/null), and 1 and 2 (the capture file). Whatever a job does to 0, 1 and 2, `mend`
// puts them back before the next one, from private close-on-exec copies.

import { fstatSync } from "node:fs";
import { calls } from "./libc.ts";

export const FRAMES = 3;
export const ANSWERS = 4;
export const PERMITS = Number(process.argv[2]);

const F_SETFD = 2;
const F_DUPFD_CLOEXEC = process.platform === "darwin" ? 67 : 1030;
const CLOSE_ON_EXEC = 1;
const PRIVATE_FROM = 100;
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

let nothing = -1;
let capture = 2;

export function claim(): void {
  if (calls === undefined) return;
  calls.fcntl(FRAMES, F_SETFD, CLOSE_ON_EXEC);
  calls.fcntl(ANSWERS, F_SETFD, CLOSE_ON_EXEC);
  calls.fcntl(PERMITS, F_SETFD, CLOSE_ON_EXEC);
  nothing = calls.fcntl(0, F_DUPFD_CLOEXEC, PRIVATE_FROM);
  capture = calls.fcntl(2, F_DUPFD_CLOEXEC, PRIVATE_FROM);
  // The node is gone: so is this process, even when a script never returns to the event loop.
  calls.prctl?.(PR_SET_PDEATHSIG, SIGKILL);
}

export function mend(): void {
  if (nothing < 0 || calls === undefined) return;
  calls.dup2(nothing, 0);
  calls.dup2(capture, 1);
  calls.dup2(capture, 2);
}

export const size = (): number => fstatSync(capture).size;
