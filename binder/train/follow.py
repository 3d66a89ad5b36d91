"""What a run keeps of itself in its folder as it goes, and what it tells a callback."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from binder import files
from binder.artifact import run_folder
from binder.train.distributed import Group

Callback = Callable[[dict[str, Any]], object]  # gets an event of a run; what it returns is ignored


class RunLog:
    """The log and the checkpoint of a run, written and told in the first process only.

    What is told has been kept before: an exception of the callback ends the run as Ctrl-C does, and what was told once
    is not told again when the run is resumed. Passing it on leaves the decision with who wrote the callback: to catch
    it there takes one line, while a tracker that fell silent for the rest of a run could not be mended afterwards.
    """

    def __init__(self, folder: Path, callback: Callback | None, group: Group) -> None:
        self.folder, self._callback, self._main = folder, callback, group.is_main
        self._counts: Mapping[str, int] = {}
        self._told = 0  # of the steps in the history

    def begin(self, counts: Mapping[str, int], state: dict[str, Any]) -> None:
        """The state to start or to go on with; the steps in its history were told when they were taken."""
        self._counts, self._told = counts, len(state["history"])
        self.save(state)
        self._tell({"event": "data", **counts})

    def save(self, state: dict[str, Any]) -> None:
        """Write the checkpoint and the log, then tell the steps that are new in the state's history."""
        if not self._main:
            return
        run_folder.write_state(self.folder, state)
        steps = [{"event": "step", **line} for line in state["history"]]
        lines = [{"event": "data", **self._counts}, *steps]
        files.write_text(self.folder / run_folder.LOG, "".join(json.dumps(line) + "\n" for line in lines))
        new, self._told = steps[self._told :], len(steps)
        for line in new:
            self._tell(line)

    def done(self, step: int, metrics: Mapping[str, Any]) -> None:
        """The run is finished; `metrics` are those of its card."""
        self._tell({"event": "done", "step": step, "out": str(self.folder), **metrics})

    def _tell(self, event: dict[str, Any]) -> None:
        if self._main and self._callback is not None:
            self._callback(event)
