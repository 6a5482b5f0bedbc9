// How what `main` returned becomes JSON. Plain data goes straight to JSON.stringify; anything
// else is first turned into plain data: BigInt a number or, when too large, a string; Map an
// object, Set a list, bytes base64, iterators lists, an Error its name and message. As in
// JSON.stringify: toJSON is honoured, NaN is null, undefined and functions in objects vanish.

import { Failure } from "./failures.ts";

const { stringify } = JSON; // a script may replace it

const DEPTH = 250;
const BOXES: Function[] = [Number, String, Boolean, BigInt];

function isPlain(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case "string":
    case "number":
    case "boolean":
      return true;
    case "object":
      break;
    default:
      return false;
  }
  if (value === null) return true;
  if (depth > DEPTH) return false;
  if (Array.isArray(value)) {
    for (const item of value) if (!isPlain(item, depth + 1)) return false;
    return true;
  }
  if (Object.getPrototypeOf(value) !== Object.prototype || "toJSON" in value) return false;
  for (const key in value) {
    if (!isPlain((value as Record<string, unknown>)[key], depth + 1)) return false;
  }
  return true;
}

const invalid = (message: string) => new Failure("InvalidResult", message);

function bytesOf(value: object): Uint8Array | undefined {
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) return new Uint8Array(value);
  if (value instanceof Uint8Array || value instanceof Uint8ClampedArray || value instanceof DataView) {
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  }
  return undefined;
}

function simpler(value: object, path: string): unknown {
  const bytes = bytesOf(value);
  if (bytes !== undefined) return Buffer.from(bytes).toString("base64");
  const { toJSON } = value as { toJSON?: unknown };
  if (typeof toJSON === "function") return toJSON.call(value, "");
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<unknown>);
  if (value instanceof Map) return Object.fromEntries(value);
  if (value instanceof Set) return [...value];
  if (value instanceof Error) return { name: value.name, message: value.message };
  if (value instanceof RegExp) return String(value);
  if (BOXES.some((box) => value instanceof box)) return value.valueOf();
  if (value instanceof Promise) throw invalid(`the result holds a Promise at ${path}: await it`);
  return value;
}

function plain(value: unknown, path: string, above: Set<object>): unknown {
  if (typeof value === "bigint") {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : String(value);
  }
  if (typeof value !== "object" || value === null) return value;
  if (above.has(value)) throw invalid(`the result contains itself at ${path}`);
  if (above.size >= DEPTH) throw invalid(`the result is nested deeper than ${DEPTH} levels`);
  above.add(value);
  const next = simpler(value, path);
  let made: unknown;
  if (next !== value) made = plain(next, path, above);
  else if (Array.isArray(value)) made = value.map((item, at) => plain(item, `${path}[${at}]`, above));
  else {
    made = Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, plain(item, `${path}.${key}`, above)]),
    );
  }
  above.delete(value);
  return made;
}

/** The result as JSON, at most `limit` bytes of it. */
export function encode(value: unknown, limit: number): string {
  if (value === undefined || value === null) return "null";
  if (typeof value === "function" || typeof value === "symbol") {
    throw invalid(`the result is a ${typeof value}, which JSON cannot express`);
  }
  const text = stringify(isPlain(value, 0) ? value : plain(value, "result", new Set())) ?? "null";
  // A UTF-16 unit takes at most 3 bytes, so most results need not be measured.
  const size = text.length * 3 <= limit ? 0 : Buffer.byteLength(text);
  if (size > limit) {
    throw new Failure("ResultTooLarge", `the result has ${size} bytes, ${limit} are allowed`, { size, limit });
  }
  return text;
}
