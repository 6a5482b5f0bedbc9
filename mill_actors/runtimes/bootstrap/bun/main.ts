// The life of a Bun process: init, import, then one job at a time until its input ends.
//
//   STARTING   the init frame is read, the script imported       -> ready, or broken and exit 1
//   RUNNING    a job's `main` runs, or its promise is awaited     -> done or fail, at once
//   WAITING    nothing left: the event loop turns, for the script's timers and sockets too
//   ENDING     no job is started any more                         -> exit 0
//
// Frames arrive as a stream on the event loop, which gets a turn at least every 200 us of
// work: that is what lets an older job's timer fire. Before each job its permit is taken from a
// second pipe (mill_actors/runtimes/permits.py): what the node has taken back is dropped.

import { readFileSync, readSync, writeSync } from "node:fs";
import type { Arguments } from "./arguments.ts";
import { ANSWERS, FRAMES, PERMITS, claim, mend, size } from "./descriptors.ts";
import { EntryPoints } from "./entry.ts";
import { describe } from "./errors.ts";
import { Failure } from "./failures.ts";
import { encode } from "./results.ts";
import { Shared } from "./shared.ts";
import { NAME as CLIENT, follow } from "./windmill.ts";
import { Job, World, jobs } from "./world.ts";

interface Init {
  script: string;
  env?: Record<string, string>;
  max_result_bytes: number;
  arguments?: "strict" | "windmill";
}

type Variables = Record<string, string>;
type Run = [kind: string, number: number, id: string, claim: string, given: Arguments, token: string, own?: Variables];

// Our own names: a script may replace the global ones.
const { parse } = JSON;
const { nanoseconds } = Bun;
const turn = setImmediate;

/** The variable of a job that is for this program alone: where `./shared` leads to. */
const SHARED = "MILL_SHARED";
const TURN_NS = 200_000;
const HEAD = /^\["run",(\d+),"([^"]*)","([^"]*)",/;

let waiting: string[] = [];
let next = 0;
let hasEnded = false;
let wake: () => void = () => {};

/** Writes an answer whole; the pipe may take it in pieces. */
function write(text: string): void {
  let written = writeSync(ANSWERS, text);
  if (written === text.length) return;
  const data = Buffer.from(text);
  while (written < data.length) written += writeSync(ANSWERS, data, written);
}

const permit = Buffer.alloc(8);
let latest = -1;

/** Takes the frame's permit; false if the node has taken it back, so that it must not run. */
function isPermitted(number: number): boolean {
  while (latest < number) {
    try {
      if (readSync(PERMITS, permit) < 8) return false;
    } catch {
      return false; // EAGAIN: nothing left to take
    }
    latest = Number(permit.readBigInt64LE());
  }
  return latest === number;
}

async function receive(): Promise<void> {
  const decoder = new TextDecoder();
  let parts: string[] = []; // of a line whose end has not come yet
  for await (const chunk of Bun.file(FRAMES).stream()) {
    const lines = decoder.decode(chunk, { stream: true }).split("\n");
    parts.push(lines.shift() as string);
    if (lines.length === 0) continue;
    waiting.push(parts.join(""));
    parts = [lines.pop() as string];
    for (const line of lines) waiting.push(line);
    wake();
  }
  hasEnded = true;
  wake();
}

/** The next frame, or undefined when the input has ended. */
async function take(): Promise<string | undefined> {
  while (next >= waiting.length) {
    if (hasEnded) return undefined;
    waiting = [];
    next = 0;
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
  return hasEnded ? undefined : waiting[next++];
}

async function load(init: Init): Promise<EntryPoints> {
  const module = (await import(init.script)) as Record<string, unknown>;
  return new EntryPoints(module, readFileSync(init.script, "utf8"), init.arguments === "windmill");
}

async function collected(value: unknown): Promise<unknown> {
  if (typeof value !== "object" || value === null) return value;
  const tag = Object.prototype.toString.call(value);
  if (tag === "[object Generator]") return [...(value as Generator)];
  if (tag !== "[object AsyncGenerator]") return value;
  const items: unknown[] = [];
  for await (const item of value as AsyncGenerator) items.push(item);
  return items;
}

class Process {
  readonly #world = new World();
  readonly #shared = new Shared();
  #entries!: EntryPoints;
  #limit = 0;
  #isAdapted = false;
  /** The script names Windmill's client, and has not loaded it yet. */
  #awaitsClient = false;

  async start(init: Init): Promise<boolean> {
    delete process.env["BUN_JSC_useTailCalls"]; // meant for this process (bun.py), not for its children
    Object.assign(process.env, init.env ?? {});
    this.#limit = init.max_result_bytes;
    this.#world.prepare();
    try {
      this.#entries = await load(init);
      this.#awaitsClient = readFileSync(init.script, "utf8").includes(CLIENT) && !(await follow());
    } catch (error) {
      write(`["broken",${describe(error)}]\n`);
      return false;
    }
    this.#world.remember();
    this.#world.restore();
    write(`["ready",${process.pid},${size()}]\n`);
    return true;
  }

  async serve(): Promise<void> {
    let turned = nanoseconds();
    for (;;) {
      if (nanoseconds() - turned > TURN_NS) {
        await new Promise<void>((resolve) => turn(resolve));
        turned = nanoseconds();
      }
      const line = next < waiting.length && !hasEnded ? waiting[next++] : await take();
      if (line === undefined) return;
      if (line.startsWith('["run",')) await this.#run(line);
      else if (line.startsWith('["context",')) {
        this.#world.context((parse(line) as [string, Variables])[1]);
      } else throw new Error(`not a frame: ${line.slice(0, 200)}`);
    }
  }

  async #run(line: string): Promise<void> {
    let frame: Run;
    try {
      frame = parse(line) as Run;
    } catch (error) {
      this.#refuse(line, error);
      return;
    }
    const [, number, id, claimed, given, token] = frame;
    const own = frame.length > 6 ? frame[6] : undefined; // to look beyond an array's end takes 0.1 us
    if (!isPermitted(number)) return;
    this.#world.identify(id, token);
    let started = nanoseconds();
    let kind = "done";
    let answer: string;
    const job = new Job();
    try {
      if (own !== undefined || this.#isAdapted) {
        this.#adapt(own);
        started = nanoseconds();
      }
      answer = encode(await this.#call(job, given), this.#limit);
    } catch (error) {
      kind = "fail";
      answer = describe(job.exited ?? error);
    }
    job.isOver = true;
    if (this.#awaitsClient) this.#awaitsClient = !(await follow());
    const duration = Math.trunc((nanoseconds() - started) / 1000);
    this.#world.restore();
    write(`["${kind}","${id}","${claimed}",${size()},${duration},${answer}]\n`);
  }

  /** Gives a job what is its own: a step of a flow has more than its id and token. */
  #adapt(own: Variables | undefined): void {
    this.#isAdapted = true; // should this fail, the next job tries again
    const shared = own?.[SHARED];
    if (own !== undefined && shared !== undefined) delete own[SHARED];
    this.#world.own(own ?? {});
    this.#shared.show(shared);
    this.#isAdapted = own !== undefined;
  }

  async #call(job: Job, given: Arguments): Promise<unknown> {
    let result = jobs.run(job, () => this.#entries.call(given));
    if (typeof result === "object" && result !== null) {
      if (typeof (result as PromiseLike<unknown>).then === "function") {
        const exited = new Promise<never>((_, reject) => {
          job.onExit = reject;
        });
        result = await Promise.race([result, exited]);
      }
      result = await collected(result);
    }
    if (job.exited !== undefined) throw job.exited;
    return result;
  }

  /** Fails a job whose arguments can't be read: nested too deep for the parser. */
  #refuse(line: string, error: unknown): void {
    const head = HEAD.exec(line);
    if (head === null) throw error;
    const [, number, id, claimed] = head;
    if (!isPermitted(Number(number))) return;
    const answer = describe(new Failure("InvalidArgs", `the arguments cannot be read: ${String(error)}`));
    write(`["fail","${id}","${claimed}",${size()},0,${answer}]\n`);
  }

  leave(code: number): never {
    return this.#world.leave(code);
  }
}

claim();
mend();
const reading = receive();
const line = await take();
const self: Process = new Process(); // typed, so that leave() is known to end it all
if (line === undefined) self.leave(0);
const [kind, init] = parse(line) as [string, Init];
if (kind !== "init") throw new Error(`the first frame is ${kind}, not init`);
if (!(await self.start(init))) self.leave(1);
try {
  await self.serve();
} catch (error) {
  writeSync(2, `${String(error)}\n`);
  self.leave(1);
}
await reading;
self.leave(0);
