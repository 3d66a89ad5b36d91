"""What the commands of plugins stand on: a plugin's command that uses every public name there is for them."""

from __future__ import annotations

import json
import textwrap

import pytest
from support import distribution, installed

import binder as public
from binder import PluginError

PLUGIN = """
    from pathlib import Path

    import click

    from binder import (
        ProgressBar, RunError, common_options, get_modality, hookimpl, print_json, print_table, render_page, say,
        shown_item, write_text,
    )


    @click.command("look")
    @click.argument("text")
    @click.option("--out", type=click.Path(path_type=Path))
    @common_options("device", "encoder", "json", "strict", "trunk", "workers")
    def look(text, out, as_json, **options):
        \"\"\"Look at a text.\"\"\"
        with ProgressBar() as progress:
            for done in range(3):
                progress("looking", done + 1, 3)
        if as_json:
            print_json({"text": text, "nothing": float("nan"), **options})
            return
        say(text)
        print_table(["text", "length", "share"], [[text, len(text), 0.5], ["", "–", "–"]])
        item = shown_item(get_modality("text"), text)
        template = Path(__file__).with_name("look.html")
        write_text(out, render_page(template, below=[out.parent], item=item, place=out))


    @hookimpl
    def binder_register_commands(cli):
        cli.add_command(look)
"""
PAGE = """{% extends "page.html" %}
{% block title %}{{ item.text }}{% endblock %}
{% block body %}<h1>{{ item.text }}</h1><p>{{ place|string }} {{ 0.5|pct }}</p>{% endblock %}
"""


@pytest.fixture
def look(tmp_path, binder):
    """Run `binder look ARGS` of an installed plugin -> (exit status, stdout, stderr)."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "fake_look.py").write_text(textwrap.dedent(PLUGIN))
    (site / "look.html").write_text(PAGE)
    distribution(site, "look", "fake_look")
    with installed(site, only="look"):
        yield lambda *args: binder("look", *args)


def test_options_lines_tables_and_pages_are_those_of_the_core(look, tmp_path):
    text = "<b>red\x1b[2J[bold]"
    status, out, err = look(text, "--out", tmp_path / "page.html", "--workers", 0)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("<b>red") and "\x1b" not in out and "[bold]" in lines[0]
    assert [line.split() for line in lines[1:]] == [
        ["text", "length", "share"],
        [lines[0], str(len(text)), "0.500"],
        ["–", "–"],
    ]
    page = (tmp_path / "page.html").read_text()
    assert "&lt;b&gt;red" in page and "<b>red" not in page and "\x1b" not in page
    assert "<p>page.html 50.0&thinsp;%</p>" in page
    assert "Content-Security-Policy" in page, "the look and the rules of page.html"
    assert not list(tmp_path.glob(".page*"))


def test_common_options_pass_what_they_say(look):
    given = ["--json", "--strict", "--trunk", "timm:x", "--encoder", "a", "--encoder", "b", "--workers", 0]
    status, out, _ = look("red", *given)
    assert status == 0
    assert json.loads(out) == {
        "text": "red",
        "nothing": None,
        "device": "auto",
        "encoders": ["a", "b"],
        "strict": True,
        "trunk": "timm:x",
        "workers": 0,
    }
    assert look("red", "--workers", -1)[0] == 2


def test_a_page_that_cannot_be_written_is_one_line(look, tmp_path):
    status, _, err = look("red", "--out", tmp_path / "site" / "fake_look.py" / "page.html", "--workers", 0)
    assert status == 2
    assert err.startswith("error: ") and err.count("\n") == 1


def test_an_option_or_modality_that_is_not_there_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"no common option 'worker' \(did you mean 'workers'\?\)"):
        public.common_options("device", "worker")
    with pytest.raises(PluginError, match="unknown modality 'txt'"):
        public.get_modality("txt")
