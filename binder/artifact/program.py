"""The program `run.py` of an exported folder: the sources of a few modules as one file, which needs no binder."""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Sequence
from types import ModuleType

from binder.errors import PluginError, one_line
from binder.portable import run

HEAD = '''"""{what}

    python run.py ITEM...   prints {{"item": ..., "vector": [...]}} a line; ITEM is {takes}

In Python: `from run import load`, then `load()` is the function item -> unit vector. Needs {needs}.
Written by `binder export`; the model is {model}, facts about it are in model.json.
"""

from __future__ import annotations
'''
TAIL = """

if __name__ == "__main__":
    sys.exit(main({takes}))
"""

BLANK = re.compile(r"\n{4,}")  # more blank lines than two


def program(code: Sequence[ModuleType], *, what: str, takes: str, needs: str, model: str) -> str:
    """The source of `run.py`. Raises PluginError where a module uses what is not among them."""
    modules = [*code, run]
    ours = {module.__name__.partition(".")[0] for module in modules}
    trees = [ast.parse(inspect.getsource(module)).body for module in modules]
    last = {name: number for number, body in enumerate(trees) for node in body for name in _defined(node)}
    imports: dict[str, set[str]] = {}  # module -> names from it; "" -> whole modules
    wanted: dict[str, str] = {}  # names that come from modules of binder and its plugins
    bodies: list[str] = []
    for number, module in enumerate(modules):
        lines: list[str | None] = list(inspect.getsource(module).splitlines())
        for node in trees[number]:
            if isinstance(node, ast.ImportFrom):
                names = {ast.unparse(alias) for alias in node.names}
                if str(node.module).partition(".")[0] in ours:
                    wanted |= dict.fromkeys(names, str(node.module))
                elif node.module != "__future__":
                    imports.setdefault(str(node.module), set()).update(names)
            elif isinstance(node, ast.Import):
                imports.setdefault("", set()).update(ast.unparse(alias) for alias in node.names)
            elif not _is_text(node) and all(last[name] == number for name in _defined(node)):
                continue
            first = min([node.lineno, *(mark.lineno for mark in getattr(node, "decorator_list", []))])
            lines[first - 1 : node.end_lineno] = [None] * ((node.end_lineno or first) - first + 1)
        bodies.append(BLANK.sub("\n\n\n", "\n".join(line for line in lines if line is not None)).strip())
    head = HEAD.format(what=what, takes=takes, needs=needs, model=model)
    text = "\n".join([head, *_sorted(imports), "", *_joined(bodies)]) + TAIL.format(takes=json.dumps(takes))
    _check(text, wanted, code)
    return text


def _defined(node: ast.stmt) -> list[str]:
    """The names that a statement of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    tuples = [t.elts if isinstance(t, ast.Tuple) else [t] for t in targets]
    return [name.id for some in tuples for name in some if isinstance(name, ast.Name)]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _sorted(imports: dict[str, set[str]]) -> list[str]:
    """The lines that import: Python's own library, a blank line, other packages."""
    whole = [(name, f"import {name}") for name in sorted(imports.pop("", ()))]
    parts = [
        (name, f"from {name} import {', '.join(sorted(imports[name]))}") for name in sorted(imports, key=str.lower)
    ]
    own = [name.partition(".")[0].partition(" ")[0] in sys.stdlib_module_names for name, _ in whole + parts]
    lines = [line for _, line in whole + parts]
    first = [line for line, is_own in zip(lines, own, strict=True) if is_own]
    return [*first, "", *(line for line, is_own in zip(lines, own, strict=True) if not is_own)]


def _joined(bodies: Sequence[str]) -> list[str]:
    """The bodies of modules, each after the blank lines that it needs."""
    found = []
    for number, body in enumerate(bodies):
        blank = number > 0 or body.startswith(("def ", "class ", "@"))
        found.append(f"\n{body}\n" if blank else f"{body}\n")
    return found


def _check(text: str, wanted: dict[str, str], code: Sequence[ModuleType]) -> None:
    """Raises PluginError where the program lacks a name that one of its modules imported."""
    where = f"{code[-1].__name__}: an exported encoder cannot run it"
    try:
        body = ast.parse(text).body
    except SyntaxError as error:
        raise PluginError(f"{where}: {one_line(error)}") from None
    defined = {name for node in body for name in _defined(node)}
    missing = sorted(set(wanted) - defined)
    if missing:
        raise PluginError(f"{where}: it imports {missing[0]} of {wanted[missing[0]]}, which is not among its modules")
    if "windows_of" not in defined:
        raise PluginError(f"{where}: it has no function windows_of")
