"""Whether the model hub can be reached, asked once with a short timeout; its libraries would retry for minutes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from binder.errors import BinderError
from binder.scoped import ProcessWide

PATIENCE_S = 5.0
REPO = re.compile(r"[\w.-]+(/[\w.-]+)?")
# in the messages of libraries that download
OUT_OF_REACH = re.compile(
    r"failed to resolve|name resolution|connect|offline|timed? ?out|network is|max retries|locate the file",
    re.IGNORECASE,
)


@contextlib.contextmanager
def hub(name: str, repo: str | None, error: type[BinderError]) -> Iterator[None]:
    """Within this, libraries download what is missing; where the hub does not answer, they use only what is cached.

    `name` is what the user asked for, `repo` the repository that it means (ORG/NAME), where there is one. Raises
    `error` if there is no such repository.
    """
    from huggingface_hub import constants

    if repo is not None and not REPO.fullmatch(repo):
        raise error(f"{name[:100]}: {repo[:100]!r} cannot be a repository on the hub; expected ORG/NAME")
    status = 0 if constants.HF_HUB_OFFLINE else _status(repo)
    if repo is not None and status in (401, 403, 404):
        raise error(f"{name}: no such repository, or a private one (`hf auth login`, or set HF_TOKEN)")
    with contextlib.nullcontext() if 0 < status < 500 else _offline:
        yield


def is_out_of_reach(message: str) -> bool:
    """Whether a library's message says that something is neither cached nor can be downloaded."""
    return OUT_OF_REACH.search(message) is not None


def _status(repo: str | None) -> int:
    """The HTTP status of a request about the repository; 0 where there is no answer."""
    from huggingface_hub import constants, utils

    library: Any = utils  # exports its names lazily, which type checkers do not see
    address = f"{constants.ENDPOINT}/api/models" + (f"/{repo}" if repo else "?limit=1")
    try:
        response = library.get_session().get(address, headers=library.build_hf_headers(), timeout=PATIENCE_S)
        return int(response.status_code)
    except Exception:  # of whichever HTTP library it uses
        return 0


@contextlib.contextmanager
def _hub_offline() -> Iterator[None]:
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


# open_clip and timm pass no `local_files_only` on to the hub's library, so its global switch is the only way
_offline = ProcessWide(_hub_offline)
