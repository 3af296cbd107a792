"""Makers of the embedded corpus and the embedded checkpoint; not in the wheel."""
