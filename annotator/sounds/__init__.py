"""Sounds on the way to a model: decoded, cut to length, and turned into features ahead of it."""
