"""The size and shape of the house in numbers: `python -m tests.house`.

Lines without tests, what functions take, how complex they are (cyclomatic, as radon counts it: above 10 is rank C or
worse), untyped dictionaries in public signatures, long modules.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from radon.complexity import cc_visit

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("eomm", "data_prep", "experiments", "benchmarks")
MANY, SOME, COMPLEX, LONG = 10, 6, 10, 400


@dataclass(frozen=True, kw_only=True)
class Function:
    """One function or method.

    Attributes:
        place: file and name.
        public: whether neither it, its class nor the function around it begins with an underscore.
        parameters: how many, without self and cls.
        untyped: whether its signature says `dict[str, Any]`.
    """

    place: str
    public: bool
    parameters: int
    untyped: bool


def modules() -> list[Path]:
    """Every file of Python but tests."""
    return sorted(p for part in PARTS for p in (ROOT / part).rglob("*.py"))


def functions(file: Path) -> Iterator[Function]:
    """Functions and methods of a file, those inside functions too."""

    def below(node: ast.AST, names: tuple[str, ...]) -> Iterator[Function]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                inside = (*names, child.name)
                yield _function(file, child, inside)
                yield from below(child, inside)
            else:
                yield from below(child, (*names, child.name) if isinstance(child, ast.ClassDef) else names)

    yield from below(ast.parse(file.read_text(encoding="utf-8")), ())


def _function(file: Path, node: ast.FunctionDef | ast.AsyncFunctionDef, names: tuple[str, ...]) -> Function:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    arguments = [a for a in every if a.arg not in ("self", "cls")]
    said = [ast.unparse(a.annotation) for a in arguments if a.annotation]
    said += [ast.unparse(node.returns)] if node.returns else []
    public = not any(n.startswith("_") and n != "__init__" for n in names)
    place = f"{file.relative_to(ROOT)}:{node.lineno} {'.'.join(names)}"
    return Function(
        place=place, public=public, parameters=len(arguments), untyped=any("dict[str, Any]" in s for s in said)
    )


def blocks(files: Iterable[Path]) -> list[tuple[int, str]]:
    """(complexity, place) of every function, method and class, as radon counts it."""
    return [
        (block.complexity, f"{file.relative_to(ROOT)}:{block.lineno} {block.name}")
        for file in files
        for block in cc_visit(file.read_text(encoding="utf-8"))
    ]


def told(title: str, rows: Iterable[str]) -> None:
    """Print a number and what it counts."""
    print(title, *(f"  {row}" for row in rows), sep="\n")


def main() -> None:
    """Print the numbers, and what is beyond them."""
    files = modules()
    lines = {f: len(f.read_text(encoding="utf-8").splitlines()) for f in files}
    every = [f for file in files for f in functions(file)]
    every_block = blocks(files)
    many = sorted((f.parameters, f.place) for f in every if f.parameters > MANY)
    bad = sorted(b for b in every_block if b[0] > COMPLEX)
    untyped = [f.place for f in every if f.public and f.untyped]
    long = sorted((n, str(f.relative_to(ROOT))) for f, n in lines.items() if n > LONG)
    for part in PARTS:
        print(f"{part}: {sum(n for f, n in lines.items() if f.is_relative_to(ROOT / part)):,} lines")
    print(f"all: {sum(lines.values()):,} lines in {len(files)} modules, {len(every):,} functions")
    print(f"functions of more than {SOME} parameters: {sum(f.parameters > SOME for f in every)}")
    told(f"functions of more than {MANY} parameters: {len(many)}", (f"{n} {place}" for n, place in many))
    share = 100 * len(bad) / len(every_block)
    told(f"rank C or worse: {len(bad)} of {len(every_block)} blocks, {share:.1f} %", (f"{n} {b}" for n, b in bad))
    told(f"dict[str, Any] in public signatures: {len(untyped)}", untyped)
    told(f"modules of more than {LONG} lines: {len(long)}", (f"{n} {file}" for n, file in long))


if __name__ == "__main__":
    main()
