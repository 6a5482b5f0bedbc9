// How a job's arguments reach `main`: by name, checked before the call. A destructured
// parameter (`{a, b}`) has no name: the whole object of arguments is passed for it, unless
// arguments are left over by name for the others. A rest parameter gets the list given
// under its name. Strings become a `Date` where the TypeScript type is `Date`.

import { Failure } from "./failures.ts";
import { datesIn, parametersOf, type Parameter } from "./parameters.ts";

export type Arguments = Record<string, unknown>;
type Main = (...values: unknown[]) => unknown;

const isMissing = (value: unknown) =>
  value === undefined || value === null || value === "<function call>";

const listed = (names: string[]) =>
  `${names.length === 1 ? "argument" : "arguments"} ${names.map((name) => `'${name}'`).join(", ")}`;

export class Signature {
  readonly #parameters: Parameter[];
  readonly #names: Set<string>;
  readonly #dates: Set<string>;
  readonly #text: string;
  readonly #simple: string[] | undefined;
  readonly #pattern: string | undefined;

  constructor(
    readonly main: Main,
    source: string,
    readonly isLenient: boolean,
  ) {
    const parameters = parametersOf(main);
    this.#parameters = parameters ?? [];
    const named = this.#parameters.filter(({ isPattern }) => !isPattern);
    const patterns = this.#parameters.filter(({ isPattern }) => isPattern);
    if (patterns.length > 1) {
      throw new Failure("BadMain", "main has more than one destructured parameter: name them");
    }
    this.#pattern = patterns[0]?.name;
    this.#names = new Set(named.map(({ name }) => name));
    this.#dates = datesIn(source, this.#parameters.map(({ name }) => name));
    this.#text = `main(${this.#parameters.map(({ name, isOptional, isRest }) => (isRest ? `...${name}` : isOptional ? `${name}?` : name)).join(", ")})`;
    const isSimple = !isLenient && patterns.length === 0 && this.#dates.size === 0 && named.every(({ isRest }) => !isRest);
    this.#simple = isSimple && parameters !== undefined ? [...this.#names] : undefined;
  }

  /** Calls main, with the arguments in the order of its parameters. */
  call(given: Arguments): unknown {
    const names = this.#simple;
    if (names === undefined) return this.main(...this.#bind(given));
    const values: unknown[] = [];
    let count = 0;
    for (const _ in given) count += 1;
    if (count !== names.length) return this.main(...this.#bind(given));
    for (const name of names) {
      if (!Object.hasOwn(given, name)) return this.main(...this.#bind(given));
      values.push(given[name]);
    }
    return this.main(...values);
  }

  #bind(given: Arguments): unknown[] {
    if (typeof given !== "object" || given === null || Array.isArray(given)) {
      throw new Failure("InvalidArgs", `the arguments are not an object; the script has ${this.#text}`);
    }
    const has = (name: string) => Object.hasOwn(given, name) && !(this.isLenient && isMissing(given[name]));
    const unknown = Object.keys(given).filter((name) => !this.#names.has(name));
    const missing = this.#parameters
      .filter(({ name, isOptional, isPattern }) => !isOptional && !isPattern && !has(name))
      .map(({ name }) => name);
    if (!this.isLenient && missing.length > 0) throw this.#wrong(`missing ${listed(missing)}`);
    if (!this.isLenient && unknown.length > 0 && this.#pattern === undefined) {
      throw this.#wrong(`unknown ${listed(unknown)}`);
    }
    const values: unknown[] = [];
    for (const { name, isRest, isPattern, isOptional } of this.#parameters) {
      if (isPattern) values.push(this.#object(given, unknown));
      else if (isRest) values.push(...this.#list(name, given[name]));
      else if (has(name)) values.push(this.#dates.has(name) ? this.#date(name, given[name]) : given[name]);
      else values.push(this.isLenient && !isOptional ? given[name] : undefined);
    }
    return values;
  }

  #object(given: Arguments, unknown: string[]): Arguments {
    return Object.fromEntries(unknown.map((name) => [name, given[name]]));
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
