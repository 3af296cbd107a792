"""Scores of distributions against votes: divergences, proper scores, agreement, calibration, intervals."""
