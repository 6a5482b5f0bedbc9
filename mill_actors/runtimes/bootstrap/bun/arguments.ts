// How a job's arguments reach `main`, or another entry point: by name, checked before the call. A destructured
// parameter (`{a, b}`) has no name: the whole object of arguments is passed for it, unless
// arguments are left over by name for the others. A rest parameter gets the list given
// under its name. Strings become a `Date` where the TypeScript type is `Date`.

import { Failure } from "./failures.ts";
import { parametersOf, type Parameter } from "./parameters.ts";

export type Arguments = Record<string, unknown>;
export type Callable = (...values: unknown[]) => unknown;

/** The argument that names the function to call instead of `main`. */
export const OVERRIDE = "_ENTRYPOINT_OVERRIDE";

// As Windmill: null, and its form's placeholder for a computed default, leave the default alone.
const isNotGiven = (value: unknown) => value === null || value === "<function call>";

const shown = ({ name, isPattern, isRest, isOptional }: Parameter) =>
  isPattern ? "{...}" : isRest ? `...${name}` : isOptional ? `${name}?` : name;

const listed = (names: string[]) =>
  `${names.length === 1 ? "argument" : "arguments"} ${names.map((name) => `'${name}'`).join(", ")}`;

export class Signature {
  readonly #parameters: Parameter[];
  readonly #names: Set<string>;
  readonly #hasPattern: boolean;
  readonly #text: string;
  /** The names in order, if nothing but their presence has to be looked at. */
  readonly #simple: string[] | undefined;

  constructor(
    readonly main: Callable,
    script: string,
    readonly isLenient: boolean,
    readonly name = "main",
  ) {
    const parameters = parametersOf(main, script, name);
    this.#parameters = parameters ?? [];
    const patterns = this.#parameters.filter(({ isPattern }) => isPattern);
    if (patterns.length > 1) {
      throw new Failure("BadMain", `${name} has more than one destructured parameter: name them`);
    }
    this.#hasPattern = patterns.length > 0;
    this.#names = new Set(this.#parameters.filter(({ isPattern }) => !isPattern).map(({ name }) => name));
    this.#text = `${name}(${this.#parameters.map(shown).join(", ")})`;
    const isSimple = this.#parameters.every(({ isPattern, isRest, isDate }) => !(isPattern || isRest || isDate));
    const isOurs = isLenient || this.#names.has(OVERRIDE);
    this.#simple = isSimple && !isOurs && parameters !== undefined ? [...this.#names] : undefined;
  }

  /** The arguments in the order of the parameters, if they are exactly those and nothing is to be done. */
  matched(given: Arguments): unknown[] | undefined {
    const names = this.#simple;
    if (names === undefined) return undefined;
    const values: unknown[] = [];
    let count = 0;
    for (const _ in given) count += 1;
    if (count !== names.length) return undefined;
    for (const name of names) {
      if (!Object.hasOwn(given, name)) return undefined;
      values.push(given[name]);
    }
    return values;
  }

  /** The arguments in the order of the parameters, checked and converted. */
  bind(given: Arguments): unknown[] {
    if (typeof given !== "object" || given === null || Array.isArray(given)) {
      throw this.#wrong("the arguments are not an object");
    }
    const has = (name: string) => Object.hasOwn(given, name) && !(this.isLenient && isNotGiven(given[name]));
    const unknown = Object.keys(given).filter((name) => !this.#names.has(name));
    if (!this.isLenient) {
      const missing = this.#parameters.filter(({ name, isOptional, isPattern }) => !isOptional && !isPattern && !has(name));
      if (missing.length > 0) throw this.#wrong(`missing ${listed(missing.map(({ name }) => name))}`);
      if (unknown.length > 0 && !this.#hasPattern) throw this.#wrong(`unknown ${listed(unknown)}`);
    }
    const values: unknown[] = [];
    for (const { name, isRest, isPattern, isDate } of this.#parameters) {
      if (isPattern) values.push(Object.fromEntries(unknown.map((other) => [other, given[other]])));
      else if (isRest) values.push(...this.#list(name, given[name]));
      else if (!has(name)) values.push(undefined);
      else values.push(isDate ? this.#date(name, given[name]) : given[name]);
    }
    return values;
  }

  #list(name: string, value: unknown): unknown[] {
    if (value === undefined || value === null) return [];
    if (!Array.isArray(value)) throw this.#wrong(`'${name}' is not a list`);
    return value;
  }

  #date(name: string, value: unknown): unknown {
    if (typeof value !== "string") return value;
    const date = new Date(value);
    if (Number.isNaN(date.getTime())) throw this.#wrong(`'${name}' is not a date: ${value}`);
    return date;
  }

  #wrong(what: string): Failure {
    return new Failure("InvalidArgs", `${what}; the script has ${this.#text}`);
  }
}
