"""The leak rule of panels, in `audit` and in `fuse` alike: no votes of the corpus; all other people's are taken."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from fixtures.evidence import rewritten
from fixtures.simulated import RATERS, simulated_corpus
from serann.annotator.audit import audit
from serann.annotator.fusion import preview
from serann.annotator.proxies import log_chance_of_nesting
from serann.data.corpus import Corpus, open_corpus
from serann.data.errors import RunError

Rows = list[dict]
USES: dict[str, Callable[[Corpus, Corpus], object]] = {
    "audit": lambda corpus, panel: audit(corpus, [panel], draws=1),
    "fuse": lambda corpus, panel: preview(corpus, [panel], strategy="pool"),
}
CONSEQUENCE = {
    "audit": "so it would be measured against itself",
    "fuse": "would leak held-out votes, or count seen ones",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A divided corpus; the same raters on another modality (other votes for the same truth); and other people."""
    place = tmp_path_factory.mktemp("own-votes")
    _, truth = simulated_corpus(place / "corpus", utterances=90, speakers=9)
    same = {"utterances": 90, "speakers": 9, "truth": truth, "seen": None}
    simulated_corpus(place / "modality", seed=8, name="modality", **same)
    others = {f"other {name}": guessing for name, guessing in RATERS.items()}
    simulated_corpus(place / "others", seed=7, name="others", raters=others, **same)
    return place


def nameless(rows: Rows) -> Rows:
    return [row | {"rater_id": None} for row in rows]


def renamed(rows: Rows) -> Rows:
    return [row | {"rater_id": f"x{row['rater_id']}"} for row in rows]


def some(rows: Rows) -> Rows:
    return [row for i, row in enumerate(rows) if i % 8 < 5]


def panel_of(place, path, rows: Rows, like: str = "others") -> Corpus:
    """A panel with these votes."""
    panel = open_corpus(place / like)
    rows = [row | {"part": None} for row in rows]
    schema = panel.votes.schema.remove_metadata()
    return rewritten(panel, path, votes=pa.Table.from_pylist(rows, schema=schema), division=None)


def rows_of(place, name: str) -> Rows:
    return open_corpus(place / name).votes.to_pylist()


@pytest.mark.parametrize("use", USES)
def test_the_same_raters_on_another_modality_and_other_people_of_any_name_are_taken(place, tmp_path, use):
    corpus, bare = open_corpus(place / "corpus"), nameless(rows_of(place, "corpus"))
    unnamed = rewritten(corpus, tmp_path / "bare", votes=pa.Table.from_pylist(bare, corpus.votes.schema))
    modality, others = rows_of(place, "modality"), rows_of(place, "others")
    USES[use](corpus, panel_of(place, tmp_path / "modality", modality))
    USES[use](corpus, panel_of(place, tmp_path / "nameless", nameless(others)))
    USES[use](unnamed, panel_of(place, tmp_path / "also-nameless", nameless(others)))
    # one vote an utterance is part of eight others' more often than not, and never always
    single = [row for i, row in enumerate(nameless(others)) if i % 8 == 0]
    USES[use](unnamed, panel_of(place, tmp_path / "single", single))


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda own, others: own, r"holds votes of .*: 720 of 720 by the same raters on the same utterances have the"),
        (lambda own, others: some(own), r"450 of 450 by the same raters on the same utterances have the same label"),
        (lambda own, others: [*others, *own], "720 of 720 by the same raters"),
        (lambda own, others: [*others, own[0]], r"1 of 1 by the same raters .*give them other rater ids"),
        (lambda own, others: renamed(own), "on 90 of 90 utterances that both have its votes are those of the corpus"),
        (lambda own, others: nameless(own), "on 90 of 90 utterances that both have"),
        (lambda own, others: nameless(some(own)), "on 90 of 90 utterances that both have"),
        (lambda own, others: nameless([*own, *others]), "on 90 of 90 utterances that both have"),
    ],
    ids=["copy", "part", "beside others", "one vote", "renamed", "nameless", "nameless part", "nameless beside others"],
)
def test_votes_of_the_corpus_are_refused_whatever_they_are_called(place, tmp_path, use, made, sentence):
    rows = made(rows_of(place, "corpus"), rows_of(place, "others"))
    panel = panel_of(place, tmp_path / "panel", rows)
    with pytest.raises(RunError, match=sentence) as refusal:
        USES[use](open_corpus(place / "corpus"), panel)
    assert CONSEQUENCE[use] in str(refusal.value)


@pytest.mark.parametrize(("use", "itself"), [("audit", "panel"), ("fuse", "proxy")])
def test_a_corpus_is_not_its_own_panel(place, use, itself):
    corpus = open_corpus(place / "corpus")
    with pytest.raises(RunError, match=f"holds the very votes of .*: a corpus cannot be its own {itself}"):
        USES[use](corpus, corpus)


def test_the_chance_of_nesting_is_that_of_drawing_votes():
    """By hand: one vote of two labels, the other panel's three all for the first: (3 + 3.5 / 4 ...) / 4 a draw."""
    ours, theirs = np.tile([3.0, 0.0], (2000, 1)), np.tile([0.5, 0.5], (2000, 1))
    shares = np.array([3.5, 0.5]) / 4
    found = log_chance_of_nesting(theirs, ours) / 2000
    assert found == pytest.approx(np.log((3 + shares[0]) / 4), abs=0.01)
    # people who all say the same cannot be told from others who do
    same = np.tile([3.0, 0.0], (500, 1))
    assert log_chance_of_nesting(same, same) == 0
