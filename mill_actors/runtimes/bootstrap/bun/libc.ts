// The few C calls Bun has no API for. Where no libc can be opened, `calls` is undefined and
// the process runs without what they are for: see `descriptors.ts`.

import { dlopen } from "bun:ffi";

const NAMES =
  process.platform === "darwin"
    ? ["libSystem.B.dylib"]
    : ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`];

const CALLS = {
  dup2: { args: ["i32", "i32"], returns: "i32" },
  fcntl: { args: ["i32", "i32", "i32"], returns: "i32" },
  prctl: { args: ["i32", "u64"], returns: "i32" },
} as const;
const { prctl: _, ...PORTABLE } = CALLS;

function open() {
  for (const name of NAMES) {
    try {
      if (process.platform === "linux") return dlopen(name, CALLS).symbols;
      return { ...dlopen(name, PORTABLE).symbols, prctl: undefined };
    } catch {
      continue;
    }
  }
  return undefined;
}

export const calls = open();
