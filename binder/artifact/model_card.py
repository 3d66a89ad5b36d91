"""The model card (README.md) that is uploaded with an aligned encoder."""

from __future__ import annotations

from binder.artifact.run_folder import Card
from binder.evaluation.metrics import NO_MISS, NO_RESULT, lower_is_better, no_result
from binder.evaluation.retrieval import figures


def model_card(card: Card, repo: str) -> str:
    """The text of README.md: the Hub's metadata, what the encoder is, how to use it, and its held-out retrieval."""
    against = " and ".join(card.trained_against)
    return f"""---
library_name: binder
{f"license: {card.license}" if card.license else "# license: not stated"}
tags: [binder, embedding, multimodal, {card.modality}]
---

# {card.modality.capitalize()} in the space of `{card.anchor}`

An encoder for {card.modality}, trained with binder {card.binder_version} against {against} in the space of the frozen \
CLIP `{card.anchor}`: its vectors lie near those of matching images and texts.

## How to use it

```python
import binder

space = binder.Binder("{card.anchor}").load("hf:{repo}")
z = space.embed({card.modality}=["FILE"])  # unit vectors (1, {card.embed_dim})
z.cosine(space.embed(text=["a caption"]))
```

```sh
binder plugins install {card.plugin}  # version {card.plugin_version} wrote this encoder
binder pull hf:{repo} runs/{card.modality}
```

## What it is

| | |
|---|---|
| modality | {card.modality} (plugin {card.plugin} {card.plugin_version}) |
| anchor | `{card.anchor}`, space `{card.space}` |
| trained against | {against} |
| rows | {card.n_train} for training, {card.n_val} held out{f" ({card.held_out})" if card.held_out else ""} |
| data fingerprint | `{card.data}` |
| dimensions | {card.embed_dim} |
| created | {card.created}, binder {card.binder_version} |
| license | {card.license or "not stated"} |

## Held-out retrieval

{_table(card)}
"""


def _table(card: Card) -> str:
    """The card's held-out retrieval as a Markdown table, with its baselines."""
    rows, baselines = card.metrics.get("retrieval", []), card.metrics.get("baselines", [])
    if not rows:
        return "No rows were held out."
    shown = [figures(row, baselines) for row in rows]
    head = ["query → target", "", "queries", "targets", *shown[0]]
    lines = [head, ["---"] * len(head)]
    for row, cells in zip(rows, shown, strict=True):
        kind = "trained" if row["trained"] else "emergent"
        lines.append([f"{row['query']} → {row['target']}", kind, row["n"], row["n_targets"], *cells.values()])
    table = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
    named = "".join(f"\n\n{b['name']}: {b['what']}." for b in baselines)
    notes = ["Emergent: this pair of modalities was never trained together.", lower_is_better()]
    notes += [f"{NO_RESULT}: {NO_MISS}."] if any(no_result(row["n_targets"]) for row in rows) else []
    return f"{table}{named}\n\n{' '.join(filter(None, notes))}"
