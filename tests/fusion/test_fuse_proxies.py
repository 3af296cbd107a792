"""Another human panel as a proxy of `serann fuse`: accepted where it is other people's, refused where it would leak."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from fixtures.evidence import rewritten, with_votes
from fixtures.present import present
from fixtures.simulated import RATERS, simulated_corpus, simulated_run
from serann.annotator.cli.fuse import FuseCommand
from serann.annotator.cli.fuse import fuse as fuse_command
from serann.annotator.fusion import fuse, gather
from serann.annotator.proxies import line_up, open_panel
from serann.annotator.run.run import open_run
from serann.data.corpus import open_corpus
from serann.data.errors import LabelError, RunError
from serann.data.fused import open_fused
from serann.data.labels import LABEL_SETS, LabelSet
from serann.data.votes import count_votes
from typer import Typer
from typer.testing import CliRunner

app = Typer()
app.command("fuse", cls=FuseCommand)(fuse_command)
OTHERS = {f"other {name}": guessing for name, guessing in RATERS.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A divided corpus, a run over it, and a panel of other people on the same utterances."""
    place = tmp_path_factory.mktemp("proxies")
    corpus, truth = simulated_corpus(place / "corpus")
    simulated_run(place / "run", corpus, truth)
    simulated_corpus(place / "panel", truth=truth, seed=7, seen=None, name="others", raters=OTHERS)
    return place


def test_a_panel_is_fused_as_a_run_is(place, tmp_path):
    words = [str(place / name) for name in ("corpus", "panel", "run")]
    out = CliRunner().invoke(app, [*words, "--strategy", "empirical-bayes", "-o", str(tmp_path / "fused"), "--json"])
    assert out.exit_code == 0, out.output
    document = json.loads(out.stdout)
    assert [(run["name"], run["kind"]) for run in document["runs"]] == [
        ("panel", "people"),
        ("simulated/simulated/run", "run"),
    ]
    assert {e["of"] for e in document["report"]["strengths"]["estimates"]} >= {"panel", "simulated/simulated/run"}
    corpus, panel = open_corpus(place / "corpus"), open_corpus(place / "panel")
    evidence = gather(corpus, [panel])
    votes = count_votes(panel.votes, corpus.ids, corpus.labels)
    np.testing.assert_array_equal(evidence.runs[0].drawn, votes)
    np.testing.assert_allclose(evidence.runs[0].q, votes / votes.sum(axis=1, keepdims=True))
    pooled = fuse(corpus, [panel], strategy="pool", out=tmp_path / "pool")
    np.testing.assert_allclose(
        pooled.distributions, (evidence.seen + votes) / (evidence.seen + votes).sum(axis=1, keepdims=True)
    )


def test_a_panel_may_have_its_labels_in_another_order(place, tmp_path):
    corpus, panel = open_corpus(place / "corpus"), open_corpus(place / "panel")
    turned = LabelSet("turned", tuple(reversed(panel.labels.labels)))
    other = rewritten(panel, tmp_path / "turned", labels=turned)
    first, second = line_up([other, panel], corpus, "fuse")
    np.testing.assert_array_equal(first.drawn, second.drawn)
    ballots, same = present(first.ballots)(), present(second.ballots)()
    np.testing.assert_array_equal(ballots.label, same.label)


def test_panels_whose_folders_share_a_name_are_told_apart(place, tmp_path):
    corpus, panel = open_corpus(place / "corpus"), open_corpus(place / "panel")
    twin = with_votes(panel, tmp_path / "panel", lambda row: row | {"rater_id": f"twin {row['rater_id']}"})
    names = [run.name for run in gather(corpus, [panel, twin]).runs]
    assert names == [str(panel.path), str(twin.path)]


def test_next_votes_may_look_at_a_panel(place, tmp_path):
    words = [str(place / "corpus"), str(place / "panel"), "--next", "5", "--strategy", "empirical-bayes"]
    out = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "next")])
    assert out.exit_code == 0, out.output
    assert json.loads((tmp_path / "next" / "next.json").read_text())["runs"] == ["panel"]


# --- what would leak


def test_the_corpus_itself_is_no_proxy(place):
    corpus = open_corpus(place / "corpus")
    with pytest.raises(RunError, match=r"holds the very votes of .*: a corpus cannot be its own proxy"):
        gather(corpus, [corpus])


def test_the_corpus_divided_otherwise_is_no_proxy(place, tmp_path):
    other, _ = simulated_corpus(tmp_path / "divided", seen=5)
    said = r"960 of 960 by the same raters on the same utterances have the same label .*, 800 of them held out there"
    with pytest.raises(RunError, match=said):
        gather(open_corpus(place / "corpus"), [other])  # 120 utterances of eight votes; the 80 of train have two seen


def test_nameless_votes_of_other_people_are_taken(place, tmp_path):
    corpus, panel = (
        with_votes(open_corpus(place / name), tmp_path / name, lambda row: row | {"rater_id": None})
        for name in ("corpus", "panel")
    )
    assert line_up([panel], corpus, "fuse")[0].drawn.sum() == 960


def test_what_is_no_proxy_is_said_so(place, tmp_path):
    corpus = open_corpus(place / "corpus")
    fused = fuse(corpus, strategy="human", out=tmp_path / "fused")
    with pytest.raises(RunError, match="is a fused corpus: human votes are in its distributions already"):
        open_panel(fused.path, "fuse")
    assert open_fused(fused.path).corpus.ids == corpus.ids
    other, _ = simulated_corpus(tmp_path / "four", labels=LABEL_SETS["iemocap4"], utterances=12, raters=OTHERS)
    with pytest.raises(LabelError, match="a proxy needs the corpus's labels: import both with the same label set"):
        gather(corpus, [other])
    strange, _ = simulated_corpus(tmp_path / "strange", utterances=12, prefix="x", raters=OTHERS)
    with pytest.raises(RunError, match=r"strange shares no utterance with .*: was it made from another corpus\?"):
        gather(corpus, [strange])
    with pytest.raises(RunError, match="no run at"):
        open_panel(tmp_path / "absent", "fuse")
    assert open_panel(place / "run", "fuse").name == open_run(place / "run").name


@pytest.mark.corpora
@pytest.mark.skipif(not os.environ.get("SERANN_CORPORA"), reason="SERANN_CORPORA does not name the real corpora")
def test_real_panels_of_other_people_are_taken_and_the_corpus_s_own_votes_are_not(tmp_path):
    from serann.annotator.cli import app as serann

    def call(*words: object):
        return CliRunner().invoke(serann, [str(word) for word in words])

    source = Path(os.environ["SERANN_CORPORA"]) / "crema-d"
    for modality in ("voice", "av"):
        done = call("corpus", "import", "crema-d", source, "-o", tmp_path / modality, "--modality", modality)
        assert done.exit_code == 0, done.output
    assert call("corpus", "holdout", tmp_path / "voice", "--seen", "2", "-o", tmp_path / "two").exit_code == 0
    shown = call("fuse", tmp_path / "two", tmp_path / "av", "--strategy", "pool", "--dry-run", "--json")
    assert shown.exit_code == 0, shown.output
    report = json.loads(shown.stdout)["report"]
    assert report["moved"]["strata"][0]["utterances"] == 5228
    # CREMA-D names no raters, and its undivided copy is still the same votes
    refused = call("fuse", tmp_path / "two", tmp_path / "voice", "--dry-run")
    assert isinstance(refused.exception, RunError)
    assert "its votes are those of the corpus, or part of them" in str(refused.exception)
