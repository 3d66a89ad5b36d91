"""Pages of the documentation that are made from the code: `python tools/reference.py DOCS_FOLDER`.

A test compares them with what this makes.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from binder import errors, hookspecs
from binder.cli.main import VERBS, cli
from binder.config import AlignConfig, TrainConfig
from binder.known_plugins import known_plugins
from binder.train.losses import LOSSES

binder = importlib.import_module("binder")  # its public names, most of them loaded on first use

RECORDS = ("Modality", "Series", "Points", "Raster", "Span", "Portable", "ExportFormat")
CONFIGS = ("EncoderConfig", "SeriesConfig", "TableConfig", "PointConfig", "PictureConfig")
MODALITIES = ("series_modality", "point_modality", "raster_modality", "picture_modality")
HELPERS = (
    "read_table",
    "read_raster",
    "read_image",
    "read_array",
    "read_bytes",
    "decode_text",
    "existing_file",
    "isolated",
    "stretched",
    "name_of",
    "one_line",
)
FOR_ANCHORS = ("checked_text", "loading_model", "load_trunk", "load_transformers", "image_trunk")
COMMANDS = (
    "common_options",
    "say",
    "print_table",
    "print_json",
    "ProgressBar",
    "write_text",
    "render_page",
    "shown_item",
    "get_modality",
    "retrieval",
)
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}  # of a number, as pydantic calls them
FUNCTIONS = ("align", "tensorboard_writer", "check_pairs", "export", "push", "pull")
FACADE = ("Binder", "Embeddings", "Index")
RESULTS = ("Result", "Hit", "PairsReport", "Exported")
CLASSES = ("Encoder", "SeriesEncoder", "PointEncoder", "PictureEncoder", "Tower", "Table", "Transformer", "Anchor")


def reference() -> str:
    """The text of docs/REFERENCE.md."""
    parts = [
        "# Reference for authors of plugins",
        "Made from the code by `python tools/reference.py docs`; a test fails where it is out of date. All "
        "names are imported from `binder`; the contract and a tiny anchor for tests from `binder.testing`. How to "
        "begin: [PLUGINS.md](PLUGINS.md).",
        "## Hooks",
        "Functions at the top of the package that the entry point (group `binder`) names, marked `@binder.hookimpl`.",
        *(_function(name, getattr(hookspecs, name)) for name in _hooks()),
        "## Modalities from one function",
        *map(_named_function, MODALITIES),
        "## For reading functions",
        *map(_named_function, HELPERS),
        "## Records",
        *(_fields(name) for name in RECORDS),
        "## Configurations",
        "Each field can be set in a file under `[encoder]` and with `--set encoder.FIELD=VALUE`; your own class "
        "inherits one of these and adds fields.",
        *(_fields(name) for name in CONFIGS),
        "## Encoders",
        *(_class(name) for name in CLASSES),
        "## For anchors and pretrained models",
        *map(_named_function, FOR_ANCHORS),
        "## For commands",
        "They give the commands that a plugin adds (hook `binder_register_commands`) the look and the habits of the "
        "core's own. Importing any of them imports no torch.",
        *((_class if inspect.isclass(getattr(binder, name)) else _named_function)(name) for name in COMMANDS),
        "## The contract",
        "`binder.testing.EncoderContract`: inherit it in a test class, say what the items are, and pytest runs:",
        "\n".join(f"- {name}" for name in _contract("EncoderContract")),
        "`binder.testing.AnchorContract` does so for anchors:",
        "\n".join(f"- {name}" for name in _contract("AnchorContract")),
    ]
    return "\n\n".join(parts) + "\n"


def api() -> str:
    """The text of docs/API.md."""
    parts = [
        "# Every public function and class",
        "Made from the code by `python tools/reference.py docs`; a test fails where it is out of date. For users of "
        "the Python interface; what plugins are written with is in the [reference for authors](REFERENCE.md).",
        *map(_named_function, FUNCTIONS),
        *map(_class, FACADE),
        *(_fields(name) for name in RESULTS),
        "## Errors",
        f"```text\n{_doc(errors)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def known() -> str:
    """The text of docs/KNOWN_PLUGINS.md."""
    rows = [
        f"| `{name}` | {plugin.summary} | [`{plugin.folder}`](../{plugin.folder}) | `binder plugins install {name}` |"
        for name, plugin in known_plugins().items()
    ]
    return (
        "# Known plugins\n\nMade from `binder/known_plugins.toml` by `python tools/reference.py docs`. A "
        "plugin of your own needs no entry here: what is installed is found. To have one listed, open a pull "
        "request that adds it to that file.\n\nThe commands are for a checkout, or a release that says where its "
        "wheels lie; otherwise add `--from PLACE`, a folder or a URL of wheels as `make dist` makes it.\n\n"
        "| plugin | what it brings | where | install |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def options() -> str:
    """The text of docs/OPTIONS.md."""
    parts = [
        "# Every command and option",
        "Made from the code by `python tools/reference.py docs`; a test fails where it is out of date. "
        "Plugins add commands of their own.",
    ]
    with click.Context(cli, info_name="binder") as context:
        for name in VERBS:
            command = cli.get_command(context, name)
            assert command is not None
            parts += _command(f"binder {name}", command, context)
    return "\n\n".join(parts) + "\n"


def settings() -> str:
    """The text of docs/SETTINGS.md."""
    parts = [
        "# Every setting of `binder align`",
        "Made from the code by `python tools/reference.py docs`; a test fails where it is out of date. Each can "
        "be set in a file (`--config`) and with `--set KEY=VALUE`.",
        "## The run",
        _table(AlignConfig),
        "## `[train]`",
        _table(TrainConfig),
        "## `[loss]`",
        "`kind` names one of these losses; the other keys are its own.",
    ]
    for name, loss in LOSSES.items():
        inherited = [vars(base)["Config"] for base in loss.__mro__ if "Config" in vars(base)]
        rows = dict(row for config in reversed(inherited) for row in _rows(config).items())
        parts += [f'### `kind = "{name}"`', _doc(loss), _as_table(rows)]
    parts += [
        "## `[encoder]`",
        "The fields are those of the modality: the README of its plugin has them, and what they inherit is in the "
        "[reference for authors](REFERENCE.md#configurations).",
    ]
    return "\n\n".join(parts) + "\n"


PAGES = {
    "API.md": api,
    "REFERENCE.md": reference,
    "KNOWN_PLUGINS.md": known,
    "OPTIONS.md": options,
    "SETTINGS.md": settings,
}


def write(folder: Path) -> None:
    for name, made in PAGES.items():
        (folder / name).write_text(made(), encoding="utf-8")


def _command(path: str, command: click.Command, parent: click.Context) -> list[str]:
    """A command's section; of a group, its commands' sections."""
    with click.Context(command, info_name=path.rpartition(" ")[2], parent=parent) as context:
        if isinstance(command, click.Group):
            own = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
            return [part for name, made in own if made for part in _command(f"{path} {name}", made, context)]
        usage = " ".join(command.collect_usage_pieces(context))
        records = [record for p in command.get_params(context) if (record := p.get_help_record(context))]
    rows = [f"| `{_cell(name)}` | {_cell(text)} |" for name, text in records if text and "--help" not in name]
    table = "\n".join(["| option | |", "|---|---|", *rows]) if rows else ""
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    return [f"## `{path}`", f"```text\n{path} {usage}\n```", text, *filter(None, [table])]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


@dataclass(frozen=True)
class _Field:
    name: str
    kind: str
    default: str
    comment: str


def _hooks() -> list[str]:
    return [name for name in vars(hookspecs) if name.startswith("binder_")]


def _contract(name: str) -> list[str]:
    source = Path(binder.__file__ or "").parent / "testing.py"  # imports pytest
    tree = ast.parse(source.read_text(encoding="utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    tests = (n.name for n in found.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_"))
    return [test.removeprefix("test_").replace("_", " ") for test in tests]


def _function(name: str, value: Any) -> str:
    return f"### `{name}`\n\n```text\n{name}{_signature(value)}\n```\n\n{_doc(value)}"


def _named_function(name: str) -> str:
    return _function(name, getattr(binder, name))


def _class(name: str) -> str:
    value = getattr(binder, name)
    parts = [f"### `{name}`", _doc(value)]
    for method, made in vars(value).items():
        on_class = isinstance(made, classmethod)
        function = made.__func__ if on_class else getattr(made, "fget", made)  # a property's function
        if method.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
            continue
        if on_class:
            shown = f"{name}.{method}{_signature(made.__get__(None, value))}"
        else:
            shown = f"{method}{_signature(function)}" if function is made else f"{method}{_result(function)}"
        parts.append(f"```text\n{shown}\n```\n\n{_doc(function)}")
    return "\n\n".join(parts)


def _fields(name: str) -> str:
    value = getattr(binder, name)
    parents = [base.__name__ for base in value.__mro__[1:] if base.__name__ in CONFIGS]
    title = f"### `{name}`" + (f" (and the fields of `{parents[0]}`)" if parents else "")
    return "\n\n".join(part for part in (title, _doc(value), _table(value)) if part)


def _table(value: Any) -> str:
    return _as_table(_rows(value))


def _as_table(rows: dict[str, str]) -> str:
    return "\n".join(["| field | type | default | |", "|---|---|---|---|", *rows.values()]) if rows else ""


def _rows(value: Any) -> dict[str, str]:
    return {
        f.name: f"| `{f.name}` | `{f.kind}` | {f'`{f.default}`' if f.default else ''} | {f.comment} |"
        for f in _own_fields(value)
    }


def _own_fields(value: Any) -> list[_Field]:
    """The fields that a class's source declares, with the comments beside and right below them."""
    lines = textwrap.dedent(inspect.getsource(value)).splitlines()
    (node,) = ast.parse("\n".join(lines)).body
    assert isinstance(node, ast.ClassDef)
    found = []
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            if ast.unparse(item.annotation).startswith("ClassVar"):
                continue  # not a field
            end = item.end_lineno or item.lineno
            comments = [lines[end - 1].partition("  # ")[2]]
            for line in lines[end:]:
                if not line.strip().startswith("# "):
                    break
                comments.append(line.strip()[2:])
            kind = ast.unparse(item.annotation).replace("|", "\\|")
            default, bounds = _default(item.value)
            comment = " ".join(filter(None, comments)).replace("|", "\\|")
            found.append(_Field(item.target.id, kind, default, "; ".join(filter(None, [comment, bounds]))))
    return found


def _default(value: ast.expr | None) -> tuple[str, str]:
    """What a field's source gives as its value -> the default, and the bounds, of pydantic's `Field`."""
    if value is None:
        return "", ""
    if not (isinstance(value, ast.Call) and ast.unparse(value.func) == "Field"):
        return ast.unparse(value).replace("|", "\\|"), ""
    bounds = [f"{BOUNDS[k.arg]} {ast.unparse(k.value)}" for k in value.keywords if k.arg in BOUNDS]
    return ast.unparse(value.args[0]) if value.args else "", ", ".join(bounds)


def _signature(function: Any) -> str:
    text = re.sub(r"(: |-> )(['\"])(.*?)\2", r"\1\3", str(inspect.signature(function)))  # annotations are strings
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)
    text = re.sub(r"<function (\w+) at 0x\w+>", r"\1", text)
    if len(text) < 90:
        return text
    inside, _, after = text[1:].rpartition(")")
    parts, depth = [""], 0
    for sign in inside:
        depth += (sign in "([") - (sign in ")]")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return "(\n" + "".join(f"    {part.strip()},\n" for part in parts) + ")" + after


def _result(function: Any) -> str:
    kind = inspect.signature(function).return_annotation
    return f": {str(kind).strip(chr(39))}"


def _doc(value: Any) -> str:
    return inspect.cleandoc(value.__doc__ or "")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
