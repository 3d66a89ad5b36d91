"""Whether the model hub answers, asked once and with little patience before its libraries try for minutes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from binder.errors import BinderError

PATIENCE_S = 5.0
REPO = re.compile(r"[\w.-]+(/[\w.-]+)?")


@contextlib.contextmanager
def hub(name: str, repo: str | None, error: type[BinderError]) -> Iterator[None]:
    """Inside, the hub's libraries fetch what is lacking; where it does not answer, they take what was fetched before.

    `name` is what the user asked for, `repo` the repository that it means (ORG/NAME), if one. Raises `error` where
    there is no such repository.
    """
    from huggingface_hub import constants

    if repo is not None and not REPO.fullmatch(repo):
        raise error(f"{name[:100]}: {repo[:100]!r} is no name of a repository on the hub; expected ORG/NAME")
    before = constants.HF_HUB_OFFLINE
    status = 0 if before else _status(repo)
    if repo is not None and status in (401, 403, 404):
        raise error(f"{name}: no such repository, or a private one (`hf auth login`, or set HF_TOKEN)")
    constants.HF_HUB_OFFLINE = before or not 0 < status < 500
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _status(repo: str | None) -> int:
    """What the hub answers to a question about the repository; 0 where it does not answer."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, get_session

    address = f"{constants.ENDPOINT}/api/models" + (f"/{repo}" if repo else "?limit=1")
    try:
        return int(get_session().get(address, headers=build_hf_headers(), timeout=PATIENCE_S).status_code)
    except Exception:  # whatever the HTTP library of the day calls it
        return 0
