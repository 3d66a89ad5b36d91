"""Wheels and source packages of the core and every plugin, with their hashes: `python tools/dist.py [PLACE]`.

They are made from copies that hold the packages and nothing else, so that nothing left over from an earlier build gets
in. `dist/` is then a place for `binder plugins install NAME --from dist`, as a folder or served over HTTP.

PLACE is where the files of a release will lie, a URL or a folder. Given one, the core's list of known plugins names the
wheel of each with its hash, and `binder plugins install NAME` needs no `--from`.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from urllib.parse import quote

import tomli_w

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", nargs="?", default="", help="where the files of a release will lie: a URL or a folder")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="the folder to fill")
    given = parser.parse_args()
    for path in make(given.out.resolve(), given.place):
        print(f"{path.stat().st_size / 1024:9.0f} KiB  {path.name}")


def make(out: Path, place: str = "") -> list[Path]:
    """Fill a folder, which loses the packages it held -> the files made."""
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("*.whl"), *out.glob("*.tar.gz")):
        old.unlink()
    for project in sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml")):
        _build(project, out)
    _build(ROOT, out, _pinned(out, place) if place else None)
    made = sorted((*out.glob("*.whl"), *out.glob("*.tar.gz")))
    (out / "SHA256SUMS").write_text("".join(f"{_sha256(path)}  {path.name}\n" for path in made))
    (out / "index.html").write_text(_page(made))
    return made


def _build(project: Path, out: Path, known_plugins: str | None = None) -> None:
    """A project's source package, and its wheel made from that."""
    with tempfile.TemporaryDirectory() as work:
        copy = Path(work) / project.name
        copy.mkdir()
        for file in (project / "pyproject.toml", project / "README.md", ROOT / "LICENSE"):
            shutil.copy(file, copy)
        for package in (path.parent for path in project.glob("binder*/__init__.py")):
            shutil.copytree(package, copy / package.name, ignore=LEFT_OUT)
        if known_plugins is not None:
            (copy / "binder/known_plugins.toml").write_text(known_plugins, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, copy],
            env={**os.environ, **_time_of_commit()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{project}: its packages could not be built")


def _pinned(out: Path, place: str) -> str:
    """The list of known plugins, each with its wheel in `place` and the hash of that."""
    place = place if "://" in place else Path(place).resolve().as_uri()
    table = tomllib.loads((ROOT / "binder/known_plugins.toml").read_text(encoding="utf-8"))
    for entry in table.values():
        (wheel,) = out.glob(f"{entry['distribution'].replace('-', '_')}-*.whl")
        entry["wheel"] = f"{place.rstrip('/')}/{wheel.name}#sha256={_sha256(wheel)}"
    return tomli_w.dumps(table)


def _page(files: list[Path]) -> str:
    """Links as pip and `binder plugins install --from` read them."""
    links = (f'<a href="{quote(f.name)}#sha256={_sha256(f)}">{html.escape(f.name)}</a><br>\n' for f in files)
    return f"<!doctype html>\n<title>binder</title>\n{''.join(links)}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _time_of_commit() -> dict[str, str]:
    """The same source gives the same bytes: files in the packages bear the commit's time, where there is one."""
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {"SOURCE_DATE_EPOCH": done.stdout.strip()} if done.returncode == 0 and done.stdout.strip() else {}


if __name__ == "__main__":
    main()
