"""`binder completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from binder.cli import complete, options


@click.command("completion", cls=options.Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print the script by which a shell completes commands, options, names and paths.

    In ~/.bashrc: eval "$(binder completion bash)"; in ~/.zshrc: eval "$(binder completion zsh)"; for fish: binder
    completion fish > ~/.config/fish/completions/binder.fish. It takes effect in the next shell.
    """
    made = get_completion_class(shell)
    assert made is not None  # click knows all three
    click.echo(made(context.find_root().command, {}, "binder", complete.VARIABLE).source())
