// What a failed job answers: name, message and stack of an error, for its author. The stack
// has the lines of the user's file; frames of this program and of Bun above them are left out.

import { Failure } from "./failures.ts";
import { encode } from "./results.ts";

// Our own names: a script may replace those of JSON.
const { parse, stringify } = JSON;

const LIMIT = 64 * 1024;
const OURS = import.meta.dir;
const OUTSIDE = new RegExp(`\\((?:node:|native)|^ +at (?:native|node:)|${RegExp.escape(OURS)}`);

const cut = (text: string): string =>
  text.length <= LIMIT
    ? text
    : `${text.slice(0, LIMIT / 2)}\n... ${text.length - LIMIT} characters left out ...\n${text.slice(-LIMIT / 2)}`;

/** The stack without what is not the user's. */
export function stackOf(error: Error, causes = 8): string {
  const lines = String(error.stack ?? "").split("\n");
  // From the outside in: what called main is this program's affair, and Bun's.
  while (/^ +at /.test(lines.at(-1) ?? "") && OUTSIDE.test(lines.at(-1) as string)) lines.pop();
  let text = lines.filter((line) => !line.includes(OURS)).join("\n");
  if (isError(error.cause) && causes > 0) text += `\ncaused by ${stackOf(error.cause, causes - 1)}`;
  return text;
}

function attributes(error: Error): Record<string, unknown> | undefined {
  const extra: Record<string, unknown> = {};
  const own = ["name", "message", "stack", "cause", "line", "column", "sourceURL", "originalLine", "originalColumn"];
  for (const key of Object.keys(error)) {
    if (own.includes(key)) continue;
    try {
      extra[key] = parse(encode((error as unknown as Record<string, unknown>)[key], LIMIT));
    } catch {
      continue;
    }
  }
  if (Object.keys(extra).length === 0) return undefined;
  return stringify(extra).length <= LIMIT ? extra : undefined;
}

function text(value: unknown): string {
  try {
    return typeof value === "string" || value === undefined ? String(value) : encode(value, LIMIT);
  } catch {
    return Object.prototype.toString.call(value);
  }
}

/** The error as JSON: name, message, stack and, if it has some, extra attributes. */
export function describe(error: unknown): string {
  try {
    return stringify(parts(error));
  } catch (worse) {
    // Getters and toString of an error are user code too.
    return stringify({ name: "Error", message: `an error that can't be shown: ${typeof worse}`, stack: "" });
  }
}

function parts(error: unknown): Record<string, unknown> {
  if (error instanceof Failure) {
    const { name, message, extra } = error;
    return { name, message, stack: "", extra };
  }
  if (!isError(error)) return { name: "Error", message: cut(text(error)), stack: "" };
  return {
    name: String(error.name),
    message: cut(String(error.message)),
    stack: cut(stackOf(error)),
    extra: attributes(error),
  };
}

/** Also an error of another realm, such as one from node:vm. */
export const isError = (value: unknown): value is Error =>
  value instanceof Error || Object.prototype.toString.call(value) === "[object Error]";
