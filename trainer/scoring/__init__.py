"""Scores of predictions against held-out human votes, and comparisons of systems."""
