"""What tests run in processes of their own: runs that may be killed, and writes to a full disk."""

from __future__ import annotations

import os


def align(environment, out, pairs, anchor, arguments) -> None:
    os.environ.update(environment)
    import torch

    import binder

    torch.set_num_threads(1)
    binder.align("toy", pairs, anchor=anchor, out=out, **arguments)


def write_with_a_full_disk(folder, what) -> None:
    import resource
    import signal

    import torch
    from safetensors.torch import save_file

    from binder import RunError, files
    from binder.artifact import run_folder

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    tensors = {"a": torch.zeros(5000)}
    try:
        if what == "text":
            run_folder.write_text(folder / "config.toml", "a" * 5000)
        elif what == "state":
            run_folder.write_state(folder, tensors)
        else:
            files.write_beside(folder / "encoder.safetensors", lambda path: save_file(tensors, path))
    except RunError as error:
        (folder / "said").write_text(str(error))


def command_line(environment, stderr, arguments) -> None:
    """`binder ARGUMENTS` with what it says on stderr kept in a file."""
    os.environ.update(environment)
    import signal
    import sys

    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server that forked us ignores it
    sys.argv = ["binder", *map(str, arguments)]
    from binder.cli.main import main

    with stderr.open("w", encoding="utf-8") as sys.stderr:
        main()


def torchrun(arguments) -> None:
    """`binder ARGUMENTS` as one of the processes that torchrun starts."""
    import sys

    from binder.cli.main import main

    sys.argv = ["binder", *arguments]
    main()
