"""What long benchmarks found so far, as JSON lines: a run that is started again goes on where the file ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Results(list[dict[str, Any]]):
    """The records of a file, each told from the others by what it has under `keys`; without a file, in memory."""

    def __init__(self, path: Path | None, keys: tuple[str, ...]) -> None:
        lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
        super().__init__(json.loads(line) for line in lines)
        self.path, self.keys = path, keys

    def has(self, *values: Any) -> bool:
        return any(tuple(record[key] for key in self.keys) == values for record in self)

    def add(self, record: dict[str, Any]) -> None:
        self.append(record)
        line = json.dumps(record)
        print(line, flush=True)
        if self.path:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
