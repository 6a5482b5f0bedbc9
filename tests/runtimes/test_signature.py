"""The schema of a script's arguments, read from the signature of its `main`."""

from __future__ import annotations

from typing import Any

import pytest

from mill_actors.runtimes.signature import DIALECT, LONGEST_CODE, schema_of


def told(language: str, code: str) -> dict[str, Any]:
    schema = schema_of(language, code)
    assert schema is not None
    assert schema["$schema"] == DIALECT
    assert schema["type"] == "object"
    assert list(schema["properties"]) == schema["order"]
    return schema


def python(annotation: str, before: str = "") -> dict[str, Any]:
    """Return what is told of one annotation."""
    schema = told("python3", f"{before}\ndef main(x: {annotation}): ...")
    return {name: value for name, value in schema["properties"]["x"].items() if name != "description"}


def typescript(annotation: str, before: str = "") -> dict[str, Any]:
    schema = told("bun", f"{before}\nexport async function main(x: {annotation}) {{}}")
    return {name: value for name, value in schema["properties"]["x"].items() if name != "description"}


STRING, INTEGER, NUMBER, BOOLEAN = ({"type": name} for name in ("string", "integer", "number", "boolean"))
OBJECT, ARRAY = {"type": "object"}, {"type": "array"}


def test_defaults_and_order_in_python() -> None:
    code = """
import os

async def main(a: str, b=3, c: float = -0.5, *, d: list[str] = ["x"], e=os.environ, f, g=True, h=None, **more):
    def main(no): ...
"""
    schema = told("python3", code)
    assert schema["order"] == ["a", "b", "c", "d", "e", "f", "g", "h"]
    assert schema["required"] == ["a", "f"]
    assert schema["properties"] == {
        "a": {"description": "", "type": "string"},
        "b": {"description": "", "type": "integer", "default": 3},
        "c": {"description": "", "type": "number", "default": -0.5},
        "d": {"description": "", "type": "array", "items": STRING, "default": ["x"]},
        "e": {"description": ""},
        "f": {"description": ""},
        "g": {"description": "", "type": "boolean", "default": True},
        "h": {"description": "", "default": None},
    }


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        ("str", STRING),
        ("int", INTEGER),
        ("float", NUMBER),
        ("bool", BOOLEAN),
        ("'str'", STRING),
        ("dict", OBJECT),
        ("dict[str, int]", OBJECT),
        ("list", ARRAY),
        ("list[int]", ARRAY | {"items": INTEGER}),
        ("typing.List['list[bool]']", ARRAY | {"items": ARRAY | {"items": BOOLEAN}}),
        ("tuple[int, str]", ARRAY),
        ("bytes", STRING | {"contentEncoding": "base64"}),
        ("datetime", STRING | {"format": "date-time"}),
        ("datetime.datetime", STRING | {"format": "date-time"}),
        ("datetime.date | None", STRING | {"format": "date"}),
        ("Optional[int]", INTEGER),
        ("Union[int, None]", INTEGER),
        ("int | None", INTEGER),
        ("int | str", {}),
        ("None", {"enum": [None]}),
        ("Literal['a', 'b']", STRING | {"enum": ["a", "b"]}),
        ("Literal['a'] | Literal['b'] | None", STRING | {"enum": ["a", "b"]}),
        ("Literal['a', 1]", {"enum": ["a", 1]}),
        ("Annotated[int, 'text']", INTEGER),
        ("Any", {}),
        ("pd.DataFrame", {}),
        ("f(x)", {}),
        ("'not python'", {}),
    ],
)
def test_types_of_python(annotation: str, schema: dict[str, Any]) -> None:
    assert python(annotation) == schema


def test_classes_of_python() -> None:
    before = """
class Color(StrEnum):
    RED = "red"
    BLUE = "blue"

@dataclass
class Item:
    name: str
    color: Color = "red"
    tags: list[str] = field(default_factory=list)

class Order(TypedDict, total=False):
    items: list[Item]

class Half(TypedDict):
    a: int
    b: NotRequired[str]

class postgresql(TypedDict):
    host: str

mysql = dict
Name = str
Loop = list["Loop"]
"""
    color = STRING | {"enum": ["red", "blue"]}
    item = {
        "type": "object",
        "properties": {
            "name": {"description": "", **STRING},
            "color": {"description": "", **color, "default": "red"},
            "tags": {"description": "", "type": "array", "items": STRING},
        },
        "required": ["name"],
    }
    assert python("Color", before) == color
    assert python("Item", before) == item
    order = python("Order | None", before)
    assert order["properties"]["items"] == {"description": "", "type": "array", "items": item}
    assert order["required"] == []
    assert python("Half", before)["required"] == ["a"]
    assert python("postgresql", before)["format"] == "resource-postgresql"
    assert python("mysql", before) == {"type": "object", "format": "resource-mysql"}
    assert python("Name", before) == STRING
    assert python("Loop", before)["type"] == "array"


def test_defaults_and_order_in_typescript() -> None:
    code = """
import * as wmill from "windmill-client"
export async function main(
  a: string, b = 3, c?: { x: number; y?: string }[], d: "x" | "y" = "x",
  e: Date | undefined, f: number | null, g = { "k": [1, -2.5, true, null] }, h = process.env, ...rest: string[]
) { function main(no: string) {} }
"""
    schema = told("bun", code)
    assert schema["order"] == ["a", "b", "c", "d", "e", "f", "g", "h", "rest"]
    assert schema["required"] == ["a", "f"]
    inner = {
        "type": "object",
        "properties": {"x": {"description": "", **NUMBER}, "y": {"description": "", **STRING}},
        "required": ["x"],
    }
    assert schema["properties"] == {
        "a": {"description": "", "type": "string"},
        "b": {"description": "", "type": "number", "default": 3},
        "c": {"description": "", "type": "array", "items": inner},
        "d": {"description": "", "type": "string", "enum": ["x", "y"], "default": "x"},
        "e": {"description": "", "type": "string", "format": "date-time"},
        "f": {"description": "", "type": "number"},
        "g": {"description": "", "type": "object", "default": {"k": [1, -2.5, True, None]}},
        "h": {"description": ""},
        "rest": {"description": "", "type": "array", "items": STRING},
    }


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        ("string", STRING),
        ("number", NUMBER),
        ("boolean", BOOLEAN),
        ("bigint", INTEGER),
        ("object", OBJECT),
        ("any", {}),
        ("unknown", {}),
        ("Record<string, number>", OBJECT),
        ("string[]", ARRAY | {"items": STRING}),
        ("readonly string[]", ARRAY | {"items": STRING}),
        ("Array<(string | null)>", ARRAY | {"items": STRING}),
        ("[string, number]", ARRAY),
        ("Date", STRING | {"format": "date-time"}),
        ("string | number", {}),
        ("'a' | 'b' | 'c\\'d'", STRING | {"enum": ["a", "b", "c'd"]}),
        ("1 | 2", INTEGER | {"enum": [1, 2]}),
        ("wmill.Base64", {}),
        ("Base64", STRING | {"contentEncoding": "base64"}),
        ("RT.PostgresqlReplica", OBJECT | {"format": "resource-postgresql_replica"}),
        ("Resource<'s3'>", OBJECT | {"format": "resource-s3"}),
        ("() => void", {}),
        ("typeof y", {}),
        ("Unheard<string>", {}),
    ],
)
def test_types_of_typescript(annotation: str, schema: dict[str, Any]) -> None:
    assert typescript(annotation) == schema


def test_named_types_of_typescript() -> None:
    before = """
export enum Color { Red = "red", Blue = "blue" }
enum Level { Low, High }
interface Item { name: string, color?: Color; readonly 'a b': number }
type Order = { items: Item[], next?: Order }
type Postgresql = object
type Name = string
"""
    color = STRING | {"enum": ["red", "blue"]}
    item = {
        "type": "object",
        "properties": {
            "name": {"description": "", **STRING},
            "color": {"description": "", **color},
            "a b": {"description": "", **NUMBER},
        },
        "required": ["name", "a b"],
    }
    assert typescript("Color", before) == color
    assert typescript("Level", before) == NUMBER | {"enum": [0, 1]}
    assert typescript("Item | null", before) == item
    order = typescript("Order", before)
    assert order["properties"]["items"] == {"description": "", "type": "array", "items": item}
    assert order["properties"]["next"]["type"] == "object"
    assert typescript("Partial<Item>", before) == item | {"required": []}
    assert typescript("Postgresql", before) == OBJECT | {"format": "resource-postgresql"}
    assert typescript("Name", before) == STRING


@pytest.mark.parametrize(
    "code",
    [
        "export async function main(a: string, b?: number) {}",
        "export function main(a: string, b?: number): void {}",
        "export const main = async (a: string, b?: number): Promise<void> => {}",
        "export const main = function (a: string, b?: number) {}",
        "export default function (a: string, b?: number) {}",
        "export default async function run(a: string, b?: number) {}",
        "export default (a: string, b?: number) => 1",
        "function main(a: string, b?: number) {}\nexport { main }",
        "export function main({ a, b }: { a: string, b?: number }) {}",
        "type Args = { a: string, b?: number }\nexport function main({ a, b }: Args) {}",
        "// function main(no: string) {}\nconst s = `function main(no) {}`\nexport function main(a: string, b?: number) {}",
        "export async function main<T>(a: string, b?: number) { return a satisfies string }",
    ],
)
def test_every_way_to_declare_main(code: str) -> None:
    schema = told("bun", code)
    assert (schema["order"], schema["required"]) == (["a", "b"], ["a"])
    assert schema["properties"]["b"] == {"description": "", "type": "number"}


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python3", ""),
        ("python3", "def other(): ..."),
        ("python3", "def main(:"),
        ("python3", "main = lambda x: x"),
        ("python3", "def main(x): ...\0"),
        ("python3", "-" * 100_000 + "1"),
        ("python3", "1" + "+1" * 90_000),
        ("python3", "x" * (LONGEST_CODE + 1)),
        ("bun", ""),
        ("bun", "export const x = 1"),
        ("bun", "(" * 150_000),
        ("bun", "export function other() {}"),
        ("go", "func main() {}"),
    ],
)
def test_without_a_main_there_is_no_schema(language: str, code: str) -> None:
    assert schema_of(language, code) is None


def test_types_that_grow_without_end_are_cut_off() -> None:
    fields = "\n".join(f"    f{n}: 'C'" for n in range(50))
    schema = told("python3", f"class C(TypedDict):\n{fields}\ndef main(x: C): ...")
    assert len(str(schema)) < 500_000
    chain = "".join(
        f"class C{n}(TypedDict):\n" + "".join(f"    f{m}: 'C{n + 1}'\n" for m in range(30)) for n in range(30)
    )
    assert len(str(told("python3", f"{chain}def main(x: C0): ..."))) < 500_000
    fields = "; ".join(f"f{n}: C" for n in range(50))
    schema = told("bun", f"interface C {{ {fields} }}\nexport function main(x: C) {{}}")
    assert len(str(schema)) < 500_000
    for code in (
        "def main(x: " + "list[" * 150 + "int" + "]" * 150 + "): ...",
        "def main(x: " + " | ".join(["int"] * 300) + "): ...",
        "def main(x=" + "[" * 90 + "]" * 90 + "): ...",
    ):
        told("python3", code)
    for code in (
        "export function main(x: " + "Array<" * 5_000 + "int" + ">" * 5_000 + ") {}",
        "export function main(x: " + " | ".join(["string"] * 5_000) + ") {}",
        "export function main(x = " + "[" * 20_000 + "]" * 20_000 + ") {}",
        "export function main(x: " + "(" * 20_000 + "string" + ")" * 20_000 + ") {}",
    ):
        told("bun", code)
