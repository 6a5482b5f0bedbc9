"""What runs in a context before any expression: the names it sees, and the freezing of all the rest.

A function of the names of the lazy globals, as JSON; it returns a function that hands out, by name,
`compile(source, parameters)`, `settled()` and `report()`. What is compiled returns its value as JSON
text, false if there is none (`report()` says why), or true for a promise (then see `settled()`).
"""

from __future__ import annotations

PRELUDE = r"""
(names_text => {
  "use strict";
  const names = JSON.parse(names_text);
  const { parse, stringify } = JSON;
  const run_text = eval;
  const marker = Object.freeze({ __proto__: null });
  let texts, values, asked, failure, wants_truth, settled;

  const read = name => {
    if (name in values) return values[name];
    if (!(name in texts)) { asked.push(name); throw marker; }
    const text = texts[name];
    return values[name] = text === null ? undefined : parse(text);
  };
  const fail = thrown => {
    try {
      failure = thrown instanceof Error
        ? [`${thrown.name}`, `${thrown.message}`, `${thrown.stack}`]
        : ["", typeof thrown === "object" ? stringify(thrown) : String(thrown), ""];
    } catch {
      failure = ["", "something that cannot be shown", ""];
    }
    return false;
  };
  const finish = value => {
    try {
      const text = wants_truth ? (value ? "true" : "false") : stringify(value) ?? "null";
      return asked.length ? false : text;
    } catch (thrown) {
      return fail(thrown);
    }
  };
  const evaluate = (body, parameters, truth, passed) => {
    texts = { __proto__: null };
    values = { __proto__: null };
    asked = [];
    failure = undefined;
    settled = true;
    wants_truth = truth;
    try {
      for (let i = 0; i < passed.length; i += 2) texts[passed[i]] = passed[i + 1];
      const value = body(...parameters.map(read));
      if (!(value instanceof Promise)) return finish(value);
      Reflect.apply(Promise.prototype.then, value, [
        v => { settled = finish(v); },
        e => { settled = fail(e); },
      ]);
      return true;
    } catch (thrown) {
      return fail(thrown);
    }
  };

  for (const name of names) {
    const get = name === "error"
      ? () => { const e = read(name); return e === undefined ? read("previous_result")?.error : e; }
      : () => read(name);
    Object.defineProperty(globalThis, name, { get });
  }
  globalThis.variable = path => read(`variable:${path}`);
  globalThis.resource = path => read(`resource:${path}`);
  const refuse = () => false;
  globalThis.results = new Proxy({ __proto__: null }, {
    get: (_, id) => typeof id === "symbol" ? undefined : read(`results.${id}`),
    has: (_, id) => typeof id !== "symbol" && read(`results.${id}`) !== undefined,
    set: refuse,
    defineProperty: refuse,
    deleteProperty: refuse,
    setPrototypeOf: refuse,
    preventExtensions: refuse,
  });

  // They run code later, in somebody else's evaluation.
  delete globalThis.FinalizationRegistry;
  delete globalThis.WeakRef;
  delete globalThis.gc;

  // On a frozen prototype an inherited property could not be assigned (`o.constructor = 1`,
  // `e.message = "…"`); behind a setter it can.
  const behind = [];
  const assignable = holder => {
    for (const key of Reflect.ownKeys(holder)) {
      const { value, configurable, get, set } = Object.getOwnPropertyDescriptor(holder, key);
      if (!configurable || get || set) continue;
      behind.push(value);
      Object.defineProperty(holder, key, {
        get: () => value,
        set(assigned) {
          if (this === holder) throw new TypeError(`${String(key)} is read-only`);
          Object.defineProperty(this, key, {
            value: assigned, writable: true, enumerable: true, configurable: true,
          });
        },
      });
    }
  };
  const errors = [Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError,
    AggregateError, globalThis.SuppressedError, globalThis.InternalError];
  assignable(Object.prototype);
  for (const kind of errors) if (kind) assignable(kind.prototype);

  const seen = new Set();
  const freeze = value => {
    const waiting = [value];
    while (waiting.length) {
      const it = waiting.pop();
      if (it === null || (typeof it !== "object" && typeof it !== "function") || seen.has(it)) continue;
      seen.add(it);
      if (it !== globalThis.results) {
        waiting.push(Object.getPrototypeOf(it));
        for (const key of Reflect.ownKeys(it)) {
          const property = Object.getOwnPropertyDescriptor(it, key);
          waiting.push(property.value, property.get, property.set);
        }
        if (it !== globalThis) Object.freeze(it);
      }
    }
  };
  // Reached by syntax alone, under no name.
  const hidden = [
    function* () {}, async function () {}, async function* () {}, () => {},
    (function* () {})(), (async function* () {})(),
    [][Symbol.iterator](), new Map()[Symbol.iterator](), new Set()[Symbol.iterator](),
    ""[Symbol.iterator](), /a/g[Symbol.matchAll](""), [].values().map?.(x => x),
    globalThis.Iterator?.from?.({ next() {} }),
  ];
  freeze(globalThis);
  for (const it of behind) freeze(it);
  for (const it of hidden) if (it) freeze(Object.getPrototypeOf(it));
  Object.freeze(globalThis);

  const parts = {
    __proto__: null,
    compile(source, parameters) {
      const body = Object.freeze(run_text(source));
      const list = parse(parameters);
      return (truth, ...passed) => evaluate(body, list, truth, passed);
    },
    settled: () => settled,
    report: () => stringify({ asked, failure, touched: Object.keys(values) }),
  };
  return name => parts[name];
})
"""
