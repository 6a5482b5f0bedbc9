// Reads the parameters of `main` or another entry point, because JavaScript passes by position and jobs by name.
// The names come from what Bun made of the function (`toString`): right for every way to
// declare or wrap one. Types are gone there, so what only they say (`b?: string`, `at: Date`)
// comes from the script's text, if a declaration of it with the same names is in it.

export interface Parameter {
  name: string;
  isOptional: boolean;
  isRest: boolean;
  /** `{a, b}` or `[a, b]`: has no name of its own. */
  isPattern: boolean;
  isDate: boolean;
}

interface Part {
  pattern: string;
  type: string;
  hasDefault: boolean;
}

const OPENING = "([{";
const CLOSING = ")]}";

/** Returns the position after the string, template, comment or regular expression at `at`. */
function skip(source: string, at: number): number {
  const two = source.slice(at, at + 2);
  if (two === "//") {
    const end = source.indexOf("\n", at);
    return end < 0 ? source.length : end;
  }
  if (two === "/*") {
    const end = source.indexOf("*/", at + 2);
    return end < 0 ? source.length : end + 2;
  }
  const quote = source[at] as string;
  if (quote === "`") return skipTemplate(source, at);
  if (quote === "/" && startsRegex(source, at)) return skipRegex(source, at);
  if (quote !== '"' && quote !== "'") return at;
  let end = at + 1;
  while (end < source.length && source[end] !== quote) end += source[end] === "\\" ? 2 : 1;
  return end + 1;
}

function skipTemplate(source: string, at: number): number {
  let end = at + 1;
  while (end < source.length && source[end] !== "`") {
    if (source[end] === "\\") end += 2;
    else if (source.startsWith("${", end)) end = closing(source, end + 1) + 1;
    else end += 1;
  }
  return end + 1;
}

function startsRegex(source: string, at: number): boolean {
  const before = source.slice(0, at).trimEnd().at(-1);
  return before === undefined || "=(,:[!&|?{};+-*%<>~^".includes(before);
}

function skipRegex(source: string, at: number): number {
  let isInClass = false;
  let end = at + 1;
  while (end < source.length && (isInClass || source[end] !== "/")) {
    if (source[end] === "[") isInClass = true;
    if (source[end] === "]") isInClass = false;
    end += source[end] === "\\" ? 2 : 1;
  }
  return end + 1;
}

/** Returns the position of the bracket that closes the one at `open`. */
function closing(source: string, open: number): number {
  let depth = 0;
  for (let at = open; at < source.length; ) {
    const after = skip(source, at);
    if (after > at) {
      at = after;
      continue;
    }
    const char = source[at] as string;
    if (OPENING.includes(char)) depth += 1;
    if (CLOSING.includes(char)) depth -= 1;
    if (depth === 0) return at;
    at += 1;
  }
  return source.length;
}

/** Splits a parameter list at its own commas, and each part at its `:` and `=`. */
function split(list: string): Part[] {
  const parts: Part[] = [];
  let part: Part = { pattern: "", type: "", hasDefault: false };
  let field: "pattern" | "type" | "default" = "pattern";
  let angles = 0;
  const add = (text: string) => {
    if (field === "pattern") part.pattern += text;
    if (field === "type") part.type += text;
  };
  for (let at = 0; at < list.length; ) {
    const after = skip(list, at);
    if (after > at) {
      const isComment = list[at] === "/" && "/*".includes(list[at + 1] as string);
      if (!isComment) add(list.slice(at, after));
      at = after;
      continue;
    }
    const char = list[at] as string;
    if (OPENING.includes(char)) {
      const end = closing(list, at) + 1;
      add(list.slice(at, end));
      at = end;
      continue;
    }
    if (field === "type" && char === "<") angles += 1;
    if (field === "type" && char === ">" && list[at - 1] !== "=") angles -= 1;
    if (char === "," && angles === 0) {
      parts.push(part);
      part = { pattern: "", type: "", hasDefault: false };
      field = "pattern";
    } else if (char === ":" && field === "pattern") {
      field = "type";
    } else if (char === "=" && list[at + 1] !== ">" && angles === 0 && field !== "default") {
      field = "default";
      part.hasDefault = true;
    } else {
      add(char);
    }
    at += 1;
  }
  if (part.pattern.trim() !== "") parts.push(part);
  return parts;
}

/** Bun writes `é` in a name as `\u{e9}`. */
const unescaped = (name: string) =>
  name.replace(/\\u(?:\{([0-9a-f]+)\}|([0-9a-f]{4}))/gi, (_, braced: string, plain: string) =>
    String.fromCodePoint(Number.parseInt(braced ?? plain, 16)),
  );

const DATE = /^\(?\s*(?:(?:null|undefined)\s*\|\s*)*Date\s*(?:\|\s*(?:null|undefined)\s*)*\)?$/;

function parse(list: string): Parameter[] {
  const parameters = split(list).map(({ pattern, type, hasDefault }) => {
    const text = pattern.trim();
    const isRest = text.startsWith("...");
    const name = unescaped(text.replace(/^\.\.\./, "").trim());
    const isPattern = name.startsWith("{") || name.startsWith("[");
    return {
      name: isPattern ? "" : name.replace(/\?$/, "").trim(),
      isOptional: hasDefault || isRest || name.endsWith("?") || /\bundefined\b/.test(type),
      isRest,
      isPattern,
      isDate: DATE.test(type.trim()),
    };
  });
  return parameters.filter(({ name }) => name !== "this"); // only a type, in TypeScript
}

const ARROW = /^(?:async\s+)?([\p{ID_Start}$_\\][\p{ID_Continue}$\u200c\u200d\\{}]*)\s*=>/u;

function parametersIn(code: string): Parameter[] | undefined {
  if (/\{\s*\[native code\]\s*\}\s*$/.test(code)) return undefined;
  const name = ARROW.exec(code)?.[1];
  if (name !== undefined) return [{ name: unescaped(name), isOptional: false, isRest: false, isPattern: false, isDate: false }];
  const open = code.indexOf("(");
  return open < 0 ? undefined : parse(code.slice(open + 1, closing(code, open)));
}

/** The beginnings of declarations of a function called `name`, up to its parameters; main's also without. */
const beginnings = (name: string, isMain: boolean) => [
  new RegExp(`\\bfunction\\s*\\*?\\s*${name}\\s*(?:<[^(]*>)?\\s*(?=\\()`, "gu"),
  new RegExp(`\\b${name}\\s*(?::[^=]*)?=\\s*(?:async\\s*)?(?:function\\s*\\*?\\s*\\w*\\s*)?(?:<[^(]*>)?\\s*(?=\\()`, "gu"),
  ...(isMain ? [/\bexport\s+default\s+(?:async\s+)?(?:function\s*\*?\s*\w*\s*)?(?:<[^(]*>)?\s*(?=\()/gu] : []),
];

/** The declaration of an entry point in a script, with parameters of these names. */
function declared(script: string, entry: string, called: string, parameters: Parameter[]): Parameter[] | undefined {
  const names = parameters.map(({ name }) => name).join();
  const known = RegExp.escape(entry);
  const name = called === "" || called === entry ? known : `(?:${known}|${RegExp.escape(called)})`;
  for (const beginning of beginnings(name, entry === "main")) {
    for (const found of script.matchAll(beginning)) {
      const open = found.index + found[0].length;
      const candidate = parse(script.slice(open + 1, closing(script, open)));
      // A `main` in a comment, a string or another function mostly has other names.
      if (candidate.map(({ name }) => name).join() === names) return candidate;
    }
  }
  return undefined;
}

/** The parameters of an entry point, or undefined where its source isn't to be had. */
export function parametersOf(main: Function, script: string, entry: string): Parameter[] | undefined {
  const parameters = parametersIn(main.toString());
  if (parameters === undefined) return undefined;
  // Declared elsewhere: whether a parameter without a default may be left out is not known.
  const lenient = parameters.map((parameter) => ({ ...parameter, isOptional: true }));
  const known = declared(script, entry, main.name, parameters) ?? lenient;
  return known.map((parameter, at) => ({
    ...parameter,
    isOptional: parameter.isOptional || (parameters[at] as Parameter).isOptional,
  }));
}
