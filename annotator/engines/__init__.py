"""Engines: what runs a model. `base` is the contract; each engine is a file, imported when it is chosen."""
