// Which function of the script a job calls: `main`, or the one its arguments name. Windmill's
// convention: an argument `_ENTRYPOINT_OVERRIDE` holds the name, and is no argument of the function.
// A job without it pays nothing: only arguments that are not exactly those of main are looked at.

import { OVERRIDE, Signature, type Arguments, type Callable } from "./arguments.ts";
import { Failure } from "./failures.ts";

type Exports = Record<string, unknown>;

const missing = (name: string) =>
  new Failure(name === "main" ? "NoMain" : "NoEntryPoint", `the script exports no function ${name}`);

/** An export, also one of CommonJS or of a default export that is an object: never what objects inherit. */
function exported(module: Exports, name: string): unknown {
  if (Object.hasOwn(module, name)) return module[name];
  const fallback = module["default"];
  const holds = typeof fallback === "object" && fallback !== null && Object.hasOwn(fallback, name);
  return holds ? (fallback as Exports)[name] : undefined;
}

function mainOf(module: Exports): unknown {
  const fallback = module["default"] as { main?: unknown } | undefined;
  return module["main"] ?? fallback?.main ?? fallback;
}

export class EntryPoints {
  readonly #main: Signature | undefined;
  /** Those beside main, each read at its first job. */
  readonly #others = new Map<string, Signature>();

  constructor(
    readonly module: Exports,
    readonly script: string,
    readonly isLenient: boolean,
  ) {
    const main = mainOf(module);
    if (typeof main === "function") this.#main = new Signature(main as Callable, script, isLenient);
    else if (typeof exported(module, "preprocessor") !== "function") throw missing("main");
  }

  /** Calls what the arguments are for. */
  call(given: Arguments): unknown {
    const main = this.#main;
    const values = main?.matched(given);
    if (main !== undefined && values !== undefined) return main.main(...values);
    const chosen = this.#chosen(given);
    return chosen.main(...chosen.bind(given));
  }

  /** What a job with these arguments calls; takes the name out of them. */
  #chosen(given: Arguments): Signature {
    let name: unknown = "main";
    if (typeof given === "object" && given !== null && Object.hasOwn(given, OVERRIDE)) {
      name = given[OVERRIDE];
      delete given[OVERRIDE];
      if (typeof name !== "string") throw new Failure("InvalidArgs", `${OVERRIDE} is not the name of a function`);
    }
    const known = name === "main" ? this.#main : (this.#others.get(name as string) ?? this.#read(name as string));
    if (known === undefined) throw missing("main");
    return known;
  }

  #read(name: string): Signature {
    const called = exported(this.module, name);
    if (typeof called !== "function") throw missing(name);
    const signature = new Signature(called as Callable, this.script, this.isLenient, name);
    this.#others.set(name, signature);
    return signature;
  }
}
