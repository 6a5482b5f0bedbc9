// What a job may change in its process, and how it is put back before the next job: the
// descriptors 0-2, environment, working directory, umask, exit code and console. Not restored,
// as in any long-lived program: globals, timers and sockets still open, child processes.

import { AsyncLocalStorage } from "node:async_hooks";
import { writeSync } from "node:fs";
import { mend } from "./descriptors.ts";
import { ProcessExit } from "./failures.ts";

type Variables = Record<string, string | undefined>;
type Listener = (...values: unknown[]) => void;

/** The job whose code is running, also in the callbacks it started. */
export class Job {
  isOver = false;
  exit: (error: ProcessExit) => void = () => {};
}

export const jobs = new AsyncLocalStorage<Job>();

/** Writes at once: Bun's own streams may write after the job's answer. */
function writeNow(descriptor: number) {
  return (chunk: string | Uint8Array, encoding?: unknown, done?: unknown): boolean => {
    const text = typeof chunk === "string" && typeof encoding === "string" ? Buffer.from(chunk, encoding as BufferEncoding) : chunk;
    if (typeof text === "string") writeSync(descriptor, text);
    else writeSync(descriptor, text);
    const callback = typeof encoding === "function" ? encoding : done;
    if (typeof callback === "function") queueMicrotask(() => (callback as Listener)());
    return true;
  };
}

function report(kind: string, error: unknown): void {
  if (error instanceof ProcessExit) return;
  console.error(`${kind} after its job or outside of main's promise:`, error);
}

export class World {
  readonly #env = process.env;
  #base: Variables = {};
  #wanted: Variables = {};
  readonly #exit = process.exit;
  readonly #folder = process.cwd();
  readonly #umask = process.umask();
  #isElsewhere = false;
  #isMasked = false;
  readonly #console = { ...console };
  readonly #out = writeNow(1);
  readonly #err = writeNow(2);

  /** Puts this program's hands on what scripts use; before the script is imported. */
  prepare(): void {
    const [chdir, umask] = [process.chdir, process.umask];
    process.chdir = (folder: string) => {
      this.#isElsewhere = true;
      chdir(folder);
    };
    process.umask = (mask?: string | number): number => {
      if (mask === undefined) return umask();
      this.#isMasked = true;
      return umask(mask as number);
    };
    process.exit = ((code?: number): never => {
      const error = new ProcessExit(code ?? process.exitCode);
      const job = jobs.getStore();
      if (job !== undefined && !job.isOver) job.exit(error);
      throw error;
    }) as typeof process.exit;
    process.on("uncaughtException", (error) => report("uncaught exception", error));
    process.on("unhandledRejection", (error) => report("unhandled rejection", error));
    this.#mendStreams();
  }

  /** Remembers the state every job starts with; after the script was imported. */
  remember(): void {
    this.#base = { ...this.#env };
    this.#wanted = { ...this.#base };
  }

  leave(code: number): never {
    return this.#exit(code);
  }

  /** Replaces the variables of the previous context by these. */
  context(variables: Variables): void {
    this.#wanted = { ...this.#base, ...variables };
    this.#mendEnvironment();
  }

  /** Sets the two variables that differ from job to job. */
  identify(job: string, token: string): void {
    this.#env["WM_JOB_ID"] = this.#wanted["WM_JOB_ID"] = job;
    this.#env["WM_TOKEN"] = this.#wanted["WM_TOKEN"] = token;
  }

  restore(): void {
    mend();
    if (process.env !== this.#env || !this.#isEnvironmentKept()) this.#mendEnvironment();
    if (this.#isElsewhere) {
      process.chdir(this.#folder);
      this.#isElsewhere = false;
    }
    if (this.#isMasked) {
      process.umask(this.#umask);
      this.#isMasked = false;
    }
    if (process.exitCode !== undefined) process.exitCode = undefined;
    if (process.stdout.write !== this.#out || process.stderr.write !== this.#err) this.#mendStreams();
    if (console.log !== this.#console.log || console.error !== this.#console.error) {
      Object.assign(console, this.#console);
    }
  }

  #mendStreams(): void {
    process.stdout.write = this.#out as typeof process.stdout.write;
    process.stderr.write = this.#err as typeof process.stderr.write;
  }

  #isEnvironmentKept(): boolean {
    let count = 0;
    for (const name in this.#env) {
      if (this.#env[name] !== this.#wanted[name]) return false;
      count += 1;
    }
    for (const _ in this.#wanted) count -= 1;
    return count === 0;
  }

  #mendEnvironment(): void {
    process.env = this.#env;
    for (const name of Object.keys(this.#env)) {
      if (this.#wanted[name] === undefined) delete this.#env[name];
    }
    Object.assign(this.#env, this.#wanted);
  }
}
