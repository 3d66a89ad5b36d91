"""`binder export`."""

from __future__ import annotations

from pathlib import Path

import click

from binder.cli import complete, options, output


@click.command("export", cls=options.Command)
@click.argument("run", metavar="RUN", shell_complete=complete.runs)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="New folder for the model, its preprocessing as data, and the program run.py.",
)
@click.option(
    "--format",
    "kind",
    default="onnx",
    show_default=True,
    metavar="FORMAT",
    help="onnx, run by onnxruntime; torch, run by torch alone; or that of a plugin, such as sentence-transformers.",
)
@click.option(
    "--modality",
    metavar="MODALITY",
    help="RUN is an anchor, such as mini: export its own tower of this modality (text, image).",
)
@click.option(
    "--item",
    "items",
    multiple=True,
    metavar="ITEM",
    help="An item on which the exported model is compared with binder; repeatable. One is needed where the plugin's "
    "encoder does not say what its windows look like.",
)
@click.option(
    "--anchor",
    metavar="NAME",
    shell_complete=complete.anchors,
    help="Where the encoder's anchor is now, if it was moved.",
)
@options.trunk
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    metavar="DEVICE",
    help="Where a model of --format torch will run.",
)
@options.as_json
def export_command(
    run: str,
    out: Path,
    kind: str,
    modality: str | None,
    items: tuple[str, ...],
    anchor: str | None,
    trunk: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Write an aligned encoder as a graph without Python, with the frozen model on which it stands as part of it.

    RUN is a run folder, or hf:ORG/NAME. FOLDER/run.py prints vectors of items; it needs NumPy and onnxruntime (and
    what reads the files: Pillow, soundfile), but neither torch nor binder.
    """
    from binder.files import check_target

    check_target(out, folder=True)
    from binder.api import Binder
    from binder.artifact import hub, run_folder
    from binder.artifact.export import export
    from binder.errors import ConfigError

    if modality is None:
        modality = run_folder.read_card(hub.local(run)).modality
        space = Binder.of(run, anchor=anchor, trunk=trunk, device=device)
    elif (Path(run) / run_folder.WEIGHTS).is_file():
        raise ConfigError(f"{run}: a run has one modality; --modality is for the towers of an anchor")
    else:
        space = Binder(run, device=device)
    made = export(space, modality, out, format=kind, items=items)
    if as_json:
        output.print_json(
            {
                "folder": str(made.folder),
                "model": made.model,
                "bytes": made.bytes,
                "takes": made.takes,
                "needs": list(made.needs),
                "difference": made.difference,
                "items": made.compared,
            }
        )
        return
    output.say(f"{made.folder / made.model}: {made.bytes / 1e6:.1f} MB, {modality} in the space of {space.anchor.name}")
    if made.compared or made.model:
        compared = f"{made.compared} item{'s' * (made.compared != 1)}" if made.compared else "an example"
        output.say(f"Its unit vectors differ by {made.difference:.1g} at most from binder's, on {compared}.")
    needs = f"needs {', '.join(made.needs)}"
    if made.model:
        output.say(f"python {made.folder / 'run.py'} ITEM...  (ITEM is {made.takes}; {needs})")
    else:
        output.say(f"{made.takes}  ({needs})")
