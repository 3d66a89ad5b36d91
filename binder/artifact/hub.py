"""Aligned encoders on the Hugging Face Hub: `hf:ORG/NAME`, or `hf:ORG/NAME@REVISION`.

Uploaded are the files of a finished run and a generated model card, never any data: the run's report, which shows some
of it, is left out, and absolute paths of this machine are removed.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import tomli_w

from binder.anchors import reach
from binder.artifact import run_folder
from binder.artifact.model_card import model_card
from binder.artifact.run_folder import CARD, CONFIG, LOG, WEIGHTS, Card
from binder.config import read_toml
from binder.errors import RunError, one_line, renamed
from binder.files import check_target

PREFIX = "hf:"
FILES = (CARD, WEIGHTS, CONFIG, LOG)
README = "README.md"
UNREACHABLE = "the Hub cannot be reached, and there is no cached copy on this machine"


@renamed(licence="license")
def push(run: str | Path, to: str, *, license: str | None = None, private: bool = False) -> str:
    """Upload a finished run to the repository `to`, such as hf:me/speech, created if missing -> its URL.

    `license` is a license's short name on the Hub, such as apache-2.0; it is recorded in the card. Raises RunError: an
    unfinished run, a bad name, no token, no network.
    """
    repo, revision = _parse(to)
    folder = Path(run)
    card = run_folder.read_card(folder)
    if not (folder / WEIGHTS).is_file():
        raise RunError(f"{folder / WEIGHTS}: missing, so there is nothing to push")
    if license is not None and not re.fullmatch("[A-Za-z0-9._+-]{1,40}", license):
        raise RunError(f"license {license!r}: expected a short name such as apache-2.0 or cc-by-4.0")
    import huggingface_hub

    if huggingface_hub.get_token() is None:
        raise RunError(f"{to}: no token for the Hub on this machine; log in with `hf auth login`, or set HF_TOKEN")
    with tempfile.TemporaryDirectory() as place:
        _stage(folder, Path(place), card, repo, license)
        with _explained(to):
            api = huggingface_hub.HfApi()
            address = api.create_repo(repo, private=private, exist_ok=True)
            message = f"{card.modality} aligned with binder {card.binder_version}"
            api.upload_folder(repo_id=repo, folder_path=place, commit_message=message, revision=revision)
    return str(address)


def pull(source: str, out: str | Path) -> Path:
    """Download an aligned encoder such as hf:me/speech into the new folder `out`, completely or not at all.

    Raises RunError: the folder exists, no such repository, no aligned encoder in it, a newer format, no network.
    """
    out = Path(out)
    if check_target(out, folder=True).exists():
        raise RunError(f"{out}: exists already; choose another folder, or delete it")
    beside = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _download(source, beside)
        shutil.rmtree(beside / ".cache", ignore_errors=True)  # metadata of the download
        beside.replace(out)
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return out


def local(run: str | Path) -> Path:
    """The folder of a run: a path unchanged, hf:ORG/NAME from the Hub's cache, downloaded first if need be."""
    return _download(run, None) if isinstance(run, str) and run.startswith(PREFIX) else Path(run)


def _download(source: str, folder: Path | None) -> Path:
    """The files of an aligned encoder, checked, in `folder` or in the Hub's cache."""
    repo, revision = _parse(source)
    import huggingface_hub

    with reach.hub(source, repo, RunError), _explained(source):
        place = huggingface_hub.snapshot_download(
            repo, revision=revision, allow_patterns=[*FILES, README], local_dir=folder, library_name="binder"
        )
    found = Path(place)
    if not (found / CARD).is_file():
        raise RunError(f"{source}: holds no aligned encoder (no {CARD})")
    run_folder.read_card(found)
    if not (found / WEIGHTS).is_file():
        raise RunError(f"{source}: incomplete (no {WEIGHTS}); download it again")
    return found


def _parse(name: str) -> tuple[str, str | None]:
    """hf:ORG/NAME[@REVISION] -> repository and revision. Raises RunError."""
    match = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", name)
    if match is None:
        raise RunError(f"{name}: expected hf:ORG/NAME, the repository's name on the Hub")
    return match[1], match[2]


def _stage(folder: Path, place: Path, card: Card, repo: str, license: str | None) -> None:
    """Write the files to upload: those of the run, without absolute paths, and the model card."""
    update = {"anchor": public(card.anchor), "license": license or card.license}
    card = card.model_copy(update=update)
    shutil.copyfile(folder / WEIGHTS, place / WEIGHTS)
    (place / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if (folder / LOG).is_file():
        shutil.copyfile(folder / LOG, place / LOG)
    if (folder / CONFIG).is_file():
        config: dict[str, Any] = read_toml(folder / CONFIG)
        config["anchor"] = public(str(config.get("anchor", card.anchor)))
        config["encoders"] = [public(str(run)) for run in config.get("encoders", [])]
        if "init" in config:
            config["init"] = public(str(config["init"]))
        (place / CONFIG).write_text(tomli_w.dumps(config), encoding="utf-8")
    try:
        (place / README).write_text(model_card(card, repo), encoding="utf-8")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(f"{folder / CARD}: damaged: its metrics lack {one_line(error)}") from None


def public(name: str) -> str:
    """The name of an anchor or a run; of an absolute path only the last part."""
    return PurePath(name).name if Path(name).is_absolute() else name


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn every failure of the Hub into a RunError of one line."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise RunError(f"{name}: not a valid name on the Hub: {one_line(error)}") from None
    except errors.RepositoryNotFoundError:
        raise RunError(f"{name}: no such repository, or a private one (`hf auth login`, or set HF_TOKEN)") from None
    except errors.RevisionNotFoundError:
        raise RunError(f"{name}: the repository has no such revision") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise RunError(f"{name}: the Hub rejects this token (HTTP {status}); it needs write access") from None
        raise RunError(f"{name}: the Hub answered HTTP {status}: {one_line(error)}") from None
    except OSError as error:
        if error.errno is not None and not isinstance(error, ConnectionError | TimeoutError):
            raise  # a problem of the local disk
        raise RunError(f"{name}: {UNREACHABLE} ({type(error).__name__})") from error
    except Exception as error:  # the HTTP library's own exceptions, which differ between versions
        raise RunError(f"{name}: {UNREACHABLE} ({type(error).__name__})") from error
