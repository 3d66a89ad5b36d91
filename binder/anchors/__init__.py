"""Frozen models: the anchor, to whose space everything is aligned, its own modalities, and trunks for encoders.

`openclip` loads an anchor; `folder` and `bounds` check its files first, `reach` asks whether the hub answers.
`modalities` and `towers` are image and text. `trunk` loads pretrained models by name. `mini/` is the shipped anchor.
"""
