// Reads the parameters of a function from its source, because JavaScript passes by position
// and jobs pass by name. Works on what Bun made of the user's function (`toString`, so types
// and comments are gone), and on the TypeScript itself where a type matters (`dates`).

export interface Parameter {
  name: string;
  isOptional: boolean;
  isRest: boolean;
  /** `{a, b}` or `[a, b]`: has no name of its own. */
  isPattern: boolean;
  type: string;
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
function split(list: string): { pattern: string; type: string; hasDefault: boolean }[] {
  const parts: { pattern: string; type: string; hasDefault: boolean }[] = [];
  let part = { pattern: "", type: "", hasDefault: false };
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

function parse(list: string): Parameter[] {
  return split(list).map(({ pattern, type, hasDefault }) => {
    const text = pattern.trim().replace(/^((public|private|protected|readonly)\s+)+/, "");
    const isRest = text.startsWith("...");
    const name = text.replace(/^\.\.\./, "").trim();
    return {
      name: name.replace(/\?$/, "").trim(),
      isOptional: hasDefault || isRest || name.endsWith("?"),
      isRest,
      isPattern: name.startsWith("{") || name.startsWith("["),
      type: type.trim(),
    };
  });
}

/** The parameters of a function, or undefined where its source isn't to be had. */
export function parametersOf(main: Function): Parameter[] | undefined {
  const source = main.toString();
  if (/\{\s*\[native code\]\s*\}\s*$/.test(source)) return undefined;
  const arrow = /^(?:async\s+|async(?=\())?([\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*)\s*=>/u.exec(source);
  if (arrow !== null && arrow[1] !== undefined) {
    return [{ name: arrow[1], isOptional: false, isRest: false, isPattern: false, type: "" }];
  }
  const open = source.indexOf("(");
  return open < 0 ? undefined : parse(source.slice(open + 1, closing(source, open)));
}

const MAIN = [
  /\bfunction\s*\*?\s*main\s*(?:<[^(]*>)?\s*(?=\()/g,
  /\b(?:const|let|var)\s+main\s*(?::[^=]*)?=\s*(?:async\s*)?(?:function\s*\*?\s*\w*\s*)?(?:<[^(]*>)?\s*(?=\()/g,
];

/** The names among `names` whose TypeScript type is `Date` (or a union of it with nothing). */
export function datesIn(source: string, names: string[]): Set<string> {
  for (const expression of MAIN) {
    for (const found of source.matchAll(expression)) {
      const open = found.index + found[0].length;
      const parameters = parse(source.slice(open + 1, closing(source, open)));
      // A `main` inside a comment, a string or another function doesn't have the same names.
      if (parameters.map((parameter) => parameter.name).join() !== names.join()) continue;
      const isDate = /^\(?\s*(?:(?:null|undefined)\s*\|\s*)*Date\s*(?:\|\s*(?:null|undefined)\s*)*\)?$/;
      return new Set(parameters.filter(({ type }) => isDate.test(type)).map(({ name }) => name));
    }
  }
  return new Set();
}
