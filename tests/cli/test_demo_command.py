"""What `serann demo` prints; the whole loop is run by the wheel's test and the README's."""

from pathlib import Path

from serann.annotator.cli.demo import show


def test_its_sentences_hold_signs_that_every_terminal_shows(capsys):
    score = {"metric": "sq_unbiased", "value": -0.01, "low": -0.02, "high": 0.01, "method": "jackknife", "groups": 4}
    figures = {
        "votes_scored": 4,
        "utterances": 8,
        "speakers": 4,
        "systems": [{"targets": "human", "scores": [score]}],
        "differences": [{"targets": "empirical-bayes", "less": "human", "scores": [score]}],
        "audit": {"answers": ["crossed: 0.10 [−0.20, 0.40], worth ∞ human votes"]},
        "notes": ["speaker s1 has −3 votes"],
    }
    show(figures, Path("out"))
    printed, noted = capsys.readouterr()
    assert "- crossed: 0.10 [-0.20, 0.40], worth inf human votes" in printed
    assert "empirical-bayes less human, sq_unbiased: -0.0100 [-0.0200, +0.0100]" in printed
    assert "note: speaker s1 has -3 votes" in noted
    assert (printed + noted).isascii()
