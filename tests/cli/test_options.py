"""Options and usage errors of the command line: durations, earlier names, one line that helps."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from support import one_line_error

from binder.cli import main as cli_main
from binder.cli.options import Command, Duration, Renamed


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ("algin", "error: no such command: algin (did you mean 'align'?); see binder --help"),
        ("index ad", "error: no such command: ad (did you mean 'add'?); see binder index --help"),
        ("pairs chek x", "error: no such command: chek (did you mean 'check'?); see binder pairs --help"),
        (
            "align toy p.csv --epoch 3",
            "error: no such option: --epoch (did you mean --epochs?); see binder align --help",
        ),
        ("search a b --lr", "error: no such option: --lr; see binder search --help"),
        ("search a", "error: missing argument 'QUERY'; see binder search --help"),
        ("embed x", "error: missing option '--out'; see binder embed --help"),
        ("search a b --mode x", "error: invalid value for '--mode': 'x' is not one of 'vector', 'text', 'hybrid'; see"),
        ("embed x --out v.csv --every soon", "error: invalid value for '--every': 'soon' is not a duration; expected"),
        ("search a b --in", "error: option '--in' requires an argument"),
        ("index delete a", "error: give ITEMs or --where CONDITION, not both; see binder index delete --help"),
    ],
)
def test_a_usage_error_is_one_line_that_helps(binder, toy, tmp_path, monkeypatch, args, expected):
    import binder as package

    monkeypatch.chdir(tmp_path)
    package.Index.create("a", package.Binder("mini"))
    assert one_line_error(binder(*args.split())).startswith(expected)


def test_a_group_without_a_verb_shows_its_help(binder):
    status, out, err = binder("index")
    assert (status, out) == (2, "")
    assert err.startswith("Usage: binder index") and "Find" not in err and "which `binder index add`" in err


def test_a_long_error_is_cut_off(binder):
    line = one_line_error(binder("plugins", "install", "x" * 5000))
    assert len(line) < 2100 and line.endswith(" ...")


@pytest.mark.parametrize(("text", "seconds"), [("2s", 2.0), ("500ms", 0.5), ("1.5min", 90.0), ("3", 3.0)])
def test_durations(text, seconds):
    assert Duration().convert(text, None, None) == seconds


def renamed_options(group, context, path=()):
    """(command, option) of every option with an earlier name."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from renamed_options(command, context, (*path, name))
        else:
            yield from ((command, option) for option in command.params if isinstance(option, Renamed))


def test_every_renamed_option_is_parsed_by_its_earlier_name_and_shown_by_its_new_one_only(capsys, toy):
    context = click.Context(cli_main.cli)
    found = list(renamed_options(cli_main.cli, context))
    assert {option.was for _, option in found} == {
        "--to", "--group", "--keep", "--gb", "--licence", "--near", "--report", "--folder",
    }  # fmt: skip
    for command, option in found:
        assert isinstance(command, Command), f"{command.name} does not understand {option.was}"
        assert command._renamed([option.was, f"{option.was}=1", "--", option.was]) in (
            [option.opts[0], f"{option.opts[0]}=1", "--", option.was],
            [option.opts[0], f"{option.was}=1", "--", option.was],  # which is the value of the first
        )
        assert capsys.readouterr().err.startswith(f"warning: {option.was} is now {option.opts[0]}; ")
        shown = command.get_help(click.Context(command))
        assert option.opts[0] in shown and f" {option.was} " not in shown


def test_a_warning_about_an_old_name_is_one_line_said_once_and_other_warnings_are_not_shown():
    code = (
        "import warnings\nfrom binder.cli import main\nfrom binder.errors import warn_renamed\n"
        "main._set_up_logging(verbose=False)\n"
        "for _ in range(3):\n    warn_renamed('encoder.colour', 'encoder.color')\n"
        "warnings.warn('of some library', FutureWarning)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "warning: encoder.colour is now encoder.color; the next release drops the old name\n"
    assert done.stdout == ""
