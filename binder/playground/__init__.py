"""The offline world: drawn pictures, their captions, and the recipe that trains the mini anchor on them."""
