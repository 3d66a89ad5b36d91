"""An environment of its own for tests that install plugins: it sees this one's packages, and what it installs is its
own. Nothing is fetched."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

SETUPTOOLS = (70, 1)  # builds wheels by itself from then on


class Environment:
    """`run` starts commands in it, in `folder`."""

    def __init__(self, root: Path) -> None:
        _needs_installers()
        self.folder = root / "work"
        self.folder.mkdir()
        venv.EnvBuilder(with_pip=False, symlinks=os.name != "nt").create(root / "env")
        self.bin = root / "env" / ("Scripts" if os.name == "nt" else "bin")
        self.python = self.bin / "python"
        purelib = self._output("import sysconfig; print(sysconfig.get_path('purelib'))")
        parent = sysconfig.get_path("purelib")
        (Path(purelib) / "parent.pth").write_text(f"import site; site.addsitedir({parent!r})\n")
        shim = self.bin / "binder"  # as pip writes it for an entry point; worker processes import it again
        shim.write_text(
            f"#!{self.python}\nimport sys\nfrom binder.cli.main import main\n"
            "if __name__ == '__main__':\n    sys.exit(main())\n"
        )
        shim.chmod(0o755)

    def run(self, *command: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        own = {k: v for k, v in os.environ.items() if k not in ("BINDER_PLUGINS", "PYTHONPATH", "VIRTUAL_ENV")}
        own |= {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it the wrong way round: no isolation
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "COLUMNS": "160",
        }
        return subprocess.run(
            [str(part) for part in command], cwd=self.folder, env=own, input=stdin, capture_output=True, text=True
        )

    def _output(self, code: str) -> str:
        done = subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.strip()


def _needs_installers() -> None:
    if os.name == "nt":
        pytest.skip("the `binder` command of these environments is a script that only a POSIX system starts")
    try:
        importlib.metadata.version("pip")
        found = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError as missing:
        pytest.skip(f"{missing.name} is not installed in {sys.prefix}: packages cannot be built offline")
    if tuple(int(part) for part in found.split(".")[:2]) < SETUPTOOLS:
        pytest.skip(f"setuptools {found} cannot build packages offline, 70.1 is needed")
