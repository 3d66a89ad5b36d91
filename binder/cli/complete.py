"""What a shell offers for an unfinished word: names of modalities, plugins, anchors, runs and indexes. Free of torch.

Functions for click's `shell_complete`: (context, parameter, unfinished word) -> what it may become. Whatever goes wrong
in one, nothing is offered: an error would be printed into the command that somebody is typing.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem

VARIABLE = "_BINDER_COMPLETE"  # set by the script in the shell that asks
DEEPEST = 2  # folders below runs/ in which runs are looked for

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def answer(cli: click.Command) -> None:
    """Print what the shell asks for and exit, saying nothing else: the line being typed may be wrong so far."""
    logging.disable(logging.CRITICAL)
    try:
        cli.main(prog_name="binder", standalone_mode=False, complete_var=VARIABLE)
    except Exception:  # a word before the unfinished one is no command, a plugin is broken
        sys.exit(1)
    finally:
        logging.disable(logging.NOTSET)


def _completer(offered: Callable[[str], Iterable[str | CompletionItem]]) -> Completer:
    """Unfinished word -> candidates, as click calls it; those that do not go on from the word are dropped."""

    @functools.wraps(offered)
    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            found = [c if isinstance(c, CompletionItem) else CompletionItem(c) for c in offered(incomplete)]
        except Exception:
            return []
        return [c for c in found if c.type != "plain" or c.value.startswith(incomplete)]

    return complete


@_completer
def paths(incomplete: str) -> Iterator[CompletionItem]:
    """Files and folders, which the shell itself completes."""
    yield CompletionItem(incomplete, type="file")


@_completer
def modalities(incomplete: str) -> Iterable[str]:
    """The installed modalities."""
    from binder.registry import registry

    return registry().names()


@_completer
def trainable(incomplete: str) -> Iterable[str]:
    """Those of which an encoder can be aligned."""
    from binder.registry import registry

    return [m.name for m in registry().modalities() if m.trainable]


@_completer
def targets(incomplete: str) -> Iterable[str]:
    """One or several of the modalities, separated by commas; or both."""
    from binder.registry import registry

    before = incomplete.rpartition(",")[0]
    names = [name for name in registry().names() if name not in before.split(",")]
    return [f"{before},{name}" for name in names] if before else ["both", *names]


@_completer
def known_plugins(incomplete: str) -> Iterable[str | CompletionItem]:
    """The known plugins by name; else a path."""
    from binder import known_plugins as known

    names = [name for name in known.known_plugins() if name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type="file")]


@_completer
def installed_plugins(incomplete: str) -> Iterable[str]:
    """The plugins that are installed, broken ones included."""
    return _installed()


@_completer
def plugins_or_folders(incomplete: str) -> Iterable[str | CompletionItem]:
    """The plugins that are installed; else a folder."""
    names = [name for name in _installed() if name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type="dir")]


@_completer
def kinds(incomplete: str) -> Iterable[str]:
    """The kinds of input that `binder plugins new` knows."""
    from binder.devkit.kinds import KINDS

    return KINDS


@_completer
def anchors(incomplete: str) -> Iterable[str | CompletionItem]:
    """The anchors that are shipped or known by name, and the prefixes of plugins' own; else a folder."""
    from binder.registry import registry

    own = [kind for kind in registry().anchor_kinds() if kind.prefix]
    names = [*_shipped(), *(kind.prefix for kind in own), *_pretrained()]
    for kind in own:
        if kind.list is not None and incomplete.startswith(kind.prefix):
            names += [name for name, _ in kind.list()]
    return [name for name in names if name.startswith(incomplete)] or [CompletionItem(incomplete, type="dir")]


@_completer
def runs(incomplete: str) -> Iterable[str | CompletionItem]:
    """Finished runs: below runs/, or below the folder that is being typed; else a folder."""
    typed = _folder(incomplete, "runs")
    found = sorted(
        {str(card.parent) for depth in range(DEEPEST + 1) for card in typed.glob(f"{'*/' * depth}card.json")}
    )
    return [run for run in found if run.startswith(incomplete)] or [CompletionItem(incomplete, type="dir")]


@_completer
def indexes(incomplete: str) -> Iterable[str | CompletionItem]:
    """Folders called *.idx in the working directory, or in the folder that is being typed; else a folder."""
    found = sorted(str(index) for index in _folder(incomplete, ".").glob("*.idx"))
    return [index for index in found if index.startswith(incomplete)] or [CompletionItem(incomplete, type="dir")]


@_completer
def devices(incomplete: str) -> Iterable[str]:
    """What `--device` takes; which of them there are only torch knows."""
    return ["auto", "cpu", "cuda", "mps"]


def _folder(incomplete: str, usual: str) -> Path:
    """The folder in which a path is being typed."""
    typed, slash, _ = incomplete.rpartition("/")
    return Path(typed + slash if slash else usual)


def _installed() -> list[str]:
    from binder.registry import BUILTIN, registry

    return [plugin.name for plugin in registry().plugins if plugin.name != BUILTIN]


def _shipped() -> list[str]:
    import binder.anchors

    return sorted(p.parent.name for p in Path(binder.anchors.__path__[0]).glob("*/open_clip_config.json"))


def _pretrained() -> list[str]:
    """MODEL/TAG of OpenCLIP's pretrained models, as the source of their table spells them: importing it imports torch.

    Names that are made at runtime, those of models with another activation, are not among them.
    """
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        return []
    tree = ast.parse((Path(spec.origin).parent / "pretrained.py").read_text(encoding="utf-8"))
    tables = {
        ast.unparse(node.targets[0]): node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call | ast.Dict)
    }
    models = tables.get("_PRETRAINED")
    if not isinstance(models, ast.Dict):
        return []
    names = []
    for key, value in zip(models.keys, models.values, strict=True):
        made = tables.get(value.id) if isinstance(value, ast.Name) else value
        tags = [keyword.arg for keyword in made.keywords] if isinstance(made, ast.Call) else []
        names += [f"{ast.literal_eval(key)}/{tag}" for tag in tags if key is not None and tag]
    return names


def asked() -> bool:
    """Whether a shell asks for completions, or for its script, instead of running a command."""
    return VARIABLE in os.environ
