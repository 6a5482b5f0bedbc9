// What a job may change in its process, and how it is put back before the next job: the
// descriptors 0-2, environment, working directory, umask, exit code, console, listeners to
// signals and to uncaught errors. Not restored, as in any long-lived program: globals, timers
// and sockets still open, child processes.

import { AsyncLocalStorage } from "node:async_hooks";
import { writeSync } from "node:fs";
import { mend } from "./descriptors.ts";
import { isError, stackOf } from "./errors.ts";
import { ProcessExit } from "./failures.ts";

type Variables = Record<string, string | undefined>;
type Listener = (...values: unknown[]) => void;

/** The job whose code is running, also in the callbacks it started. */
export class Job {
  isOver = false;
  /** Set when the job called `process.exit`: it has failed, whatever it does with the exception. */
  exited: ProcessExit | undefined;
  onExit: (error: ProcessExit) => void = () => {};
}

export const jobs = new AsyncLocalStorage<Job>();

const PRINTERS = ["log", "error", "warn", "info", "debug"] as const;

/** Left behind by a job, a listener to one of these would decide over the next one's fate. */
const EVENTS = ["uncaughtException", "unhandledRejection", "SIGTERM", "SIGINT", "SIGHUP"] as const;

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
  const what = isError(error) ? stackOf(error) : String(error);
  writeSync(2, `${kind} outside of what main awaits: ${what}\n`);
}

type Write = (to: unknown, data: unknown, ...rest: unknown[]) => Promise<number>;

/** Bun.write to a standard stream writes at once too, and not when some thread comes to it. */
function withStandardStreams(write: Write): Write {
  return (to, data, ...rest) => {
    const descriptor = to === Bun.stdout ? 1 : to === Bun.stderr ? 2 : undefined;
    const isSimple = typeof data === "string" || data instanceof Uint8Array;
    if (descriptor === undefined || !isSimple) return write.call(Bun, to, data, ...rest);
    return Promise.resolve(writeSync(descriptor, data as string));
  };
}

type Spawn = (...given: [unknown, ...unknown[]]) => unknown;

/** Bun.spawn hands down the environment the process began with, not process.env. */
function withEnvironment(spawn: Spawn): Spawn {
  return (...given) => {
    const at = Array.isArray(given[0]) ? 1 : 0;
    const options = given[at] as { env?: unknown } | undefined;
    given[at] = { ...options, env: options?.env ?? process.env };
    return spawn.apply(Bun, given);
  };
}

export class World {
  readonly #env = process.env;
  #base: Variables = {};
  #context: Variables = {};
  #own: Variables = {};
  #wanted: Variables = {};
  readonly #exit = process.exit;
  readonly #folder = process.cwd();
  readonly #umask = process.umask();
  readonly #console = { ...console };
  readonly #listeners = new Map<string, Listener[]>();
  readonly #out = writeNow(1);
  readonly #err = writeNow(2);

  /** Puts this program's hands on what scripts use; before the script is imported. */
  prepare(): void {
    process.exit = ((code?: number): never => {
      const error = new ProcessExit(code ?? process.exitCode);
      const job = jobs.getStore();
      if (job !== undefined && !job.isOver) {
        job.exited ??= error;
        job.onExit(error);
      }
      throw error;
    }) as typeof process.exit;
    const { spawn, spawnSync, write } = Bun as unknown as { spawn: Spawn; spawnSync: Spawn; write: Write };
    Object.assign(Bun, {
      spawn: withEnvironment(spawn),
      spawnSync: withEnvironment(spawnSync),
      write: withStandardStreams(write),
    });
    process.on("uncaughtException", (error) => report("uncaught exception", error));
    process.on("unhandledRejection", (error) => report("unhandled rejection", error));
    this.#mendStreams();
  }

  /** Remembers the state every job starts with; after the script was imported. */
  remember(): void {
    this.#base = { ...this.#env };
    this.#wanted = { ...this.#base };
    for (const event of EVENTS) this.#listeners.set(event, process.listeners(event) as Listener[]);
  }

  leave(code: number): never {
    return this.#exit(code);
  }

  /** Replaces the variables of the previous context by these. */
  context(variables: Variables): void {
    this.#context = variables;
    this.#own = {};
    this.#wanted = { ...this.#base, ...variables };
    this.#mendEnvironment();
  }

  /** Replaces the variables of the job before, which stand above its context, by this job's. */
  own(variables: Variables): void {
    const before = this.#own;
    for (const name in variables) {
      const value = variables[name];
      if (before[name] !== value) this.#env[name] = this.#wanted[name] = value;
    }
    for (const name in before) {
      if (Object.hasOwn(variables, name)) continue;
      const below = this.#context[name] ?? this.#base[name];
      if (below !== undefined) this.#env[name] = this.#wanted[name] = below;
      else {
        delete this.#env[name];
        delete this.#wanted[name];
      }
    }
    this.#own = variables;
  }

  /** Sets the two variables that differ from job to job. */
  identify(job: string, token: string): void {
    this.#env["WM_JOB_ID"] = this.#wanted["WM_JOB_ID"] = job;
    this.#env["WM_TOKEN"] = this.#wanted["WM_TOKEN"] = token;
  }

  restore(): void {
    mend();
    if (process.env !== this.#env || !this.#isEnvironmentKept()) this.#mendEnvironment();
    if (process.cwd() !== this.#folder) process.chdir(this.#folder);
    if (process.umask() !== this.#umask) process.umask(this.#umask);
    if (process.exitCode) process.exitCode = 0; // Bun ignores undefined here
    if (process.stdout.write !== this.#out || process.stderr.write !== this.#err) this.#mendStreams();
    if (PRINTERS.some((name) => console[name] !== this.#console[name])) Object.assign(console, this.#console);
    for (const [event, listeners] of this.#listeners) {
      if (process.listenerCount(event) !== listeners.length) this.#mendListeners(event, listeners);
    }
  }

  #mendListeners(event: string, listeners: Listener[]): void {
    process.removeAllListeners(event);
    for (const listener of listeners) process.on(event, listener);
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
