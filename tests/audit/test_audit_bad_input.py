"""What a user does wrong with `serann audit`: an exact sentence each, exit code 2, no traceback, nothing written."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures.present import present
from fixtures.scripted_runs import run_scripted
from fixtures.simulated import simulated_corpus, simulated_run
from serann.annotator.audit import audit
from serann.annotator.cli import main
from serann.annotator.panel.few_shot import choose_examples
from serann.annotator.report.audit_words import notes_in_words
from serann.data.corpus import write_corpus
from serann.data.files import read_json, write_json
from serann.data.holdout import divide_votes, write_division
from serann.data.labels import LABEL_SETS, LabelSet
from serann.data.tables import UTTERANCES, VOTES, from_rows


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place = tmp_path_factory.mktemp("bad")
    corpus, truth = simulated_corpus(place / "corpus", utterances=90, speakers=9)
    return corpus, truth, simulated_run(place / "run", corpus, truth)


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run `serann` as a user does; its exit code and what it says on stderr, which is no traceback."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["serann", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return end.value.code or 0, said.err.strip().removeprefix("error: "), said.out

    return run


def refused(cli, *words):
    """The one sentence of a refusal."""
    code, said, out = cli("audit", *words)
    assert (code, out) == (2, "")
    assert "\n" not in said
    return said


def copy(source, path):
    shutil.copytree(source, path)
    return path


def relabelled(corpus, path, *, votes=None, labels=None, name=None, utterances=None):
    """The corpus written anew, undivided, with other votes."""
    labels = labels or corpus.labels
    rows = corpus.votes.drop_columns(["part"]).to_pylist() if votes is None else votes
    return write_corpus(
        path,
        name=name or corpus.name,
        labels=labels,
        utterances=corpus.utterances if utterances is None else utterances,
        votes=from_rows(rows, VOTES, labels=labels),
        licence="CC0-1.0",
        provenance={},
        simulated=True,
    )


def test_a_run_of_no_common_utterance(world, cli, tmp_path):
    corpus = world[0]
    other, truth = simulated_corpus(tmp_path / "other", utterances=20, prefix="x")
    run = simulated_run(tmp_path / "r", other, truth)
    assert refused(cli, corpus.path, run) == (
        f"r shares no utterance with {corpus.path}: its first is 'x0000', the corpus's is 'u0000'; was it made from "
        "another corpus? Give a run of this corpus"
    )


def test_a_run_of_another_corpus(world, cli, tmp_path):
    corpus = world[0]
    other, truth = simulated_corpus(tmp_path / "other", utterances=20, name="elsewhere")
    run = simulated_run(tmp_path / "r", other, truth)
    assert refused(cli, corpus.path, run) == (
        f"{run} is a run over the corpus 'elsewhere', not over 'simulated' ({corpus.path}); utterances of the same id "
        "may be other sounds there: give a run of this corpus"
    )


def test_other_labels(world, cli, tmp_path):
    corpus = world[0]
    four, truth = simulated_corpus(tmp_path / "four", utterances=20, labels=LABEL_SETS["iemocap4"])
    run = simulated_run(tmp_path / "f", four, truth)
    assert refused(cli, corpus.path, run) == (
        "f has the labels neutral, happy, angry, sad, the corpus neutral, happy, angry, sad, fear, surprise (it lacks "
        "fear, surprise; it has besides none); an audit needs the same labels: annotate this corpus, or import both "
        "with the same label set"
    )


def test_one_human_vote_an_utterance(cli, tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "c", utterances=20, votes=1, seen=1)
    run = simulated_run(tmp_path / "r", corpus, truth)
    assert refused(cli, corpus.path, run) == (
        f"{corpus.path}: no utterance has two held-out human votes (the most is 1), and one vote cannot tell a vague "
        "utterance from a wrong panel; expected two or more an utterance: divide the corpus with a smaller --seen, or "
        "bring a corpus with the single raters' votes"
    )


def test_a_corpus_that_is_not_divided(cli, tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "c", utterances=20, seen=None)
    run = simulated_run(tmp_path / "r", corpus, truth)
    said = refused(cli, corpus.path, run)
    assert said == (
        f"the votes of {corpus.path} are not divided into seen and held-out ones yet; run 'serann corpus holdout "
        f"{corpus.path} --seen 2' first"
    )


def test_a_single_speaker_is_audited_without_intervals(cli, tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "c", utterances=40, speakers=1)
    run = simulated_run(tmp_path / "r", corpus, truth)
    code, said, _ = cli("audit", corpus.path, run, "--draws", 2, "-o", tmp_path / "r.html")
    assert code == 0
    assert "one speaker" in said
    assert "no interval" in said
    rows = pq.read_table(tmp_path / "r.parquet").to_pylist()
    rows = [r for r in rows if (r["section"], r["metric"]) == ("systems.scores", "sq_unbiased")]
    found = next(r for r in rows if r["panel"] == "r")
    assert found["low"] is None
    assert found["method"] == "none: one group"


def test_raters_that_always_agree(cli, tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "c", utterances=48, seen=None)
    votes = [{k: v for k, v in row.items() if k != "part"} | {"label": "happy"} for row in corpus.votes.to_pylist()]
    same = relabelled(corpus, tmp_path / "same", votes=votes)
    write_division(same, divide_votes(same, seen=2), None)
    run = simulated_run(tmp_path / "r", same, truth)
    code, said, _ = cli("audit", same.path, run, "--draws", 2, "-o", tmp_path / "r.html")
    assert code == 0
    assert (
        "Every human vote on the audited utterances is 'happy': there is nothing in them that a panel could know or "
        "miss, so its gap, its worth in votes and agreement tell nothing here."
    ) in said
    assert "leaves no gap to close" in said
    assert "of the gap closed)" not in said
    page = (tmp_path / "r.html").read_text()
    assert ">nan<" not in page.casefold()
    # people who never disagree, and a panel of them again: no figure, no crash
    again = relabelled(corpus, tmp_path / "again", votes=[{**row, "rater_id": f"x{row['rater_id']}"} for row in votes])
    assert cli("audit", same.path, again.path, "--draws", 2)[0] == 0


def test_scores_that_are_no_numbers(world, cli, tmp_path):
    corpus, _, run = world
    broken = copy(run, tmp_path / "broken")
    table = pq.read_table(broken / "scores.parquet")
    p = np.array(table["p"].to_pylist())
    p[3] = np.nan
    place = table.column_names.index("p")
    rows = table.schema.field("p").type
    changed = table.set_column(place, table.schema.field("p"), pa.array(p.tolist(), rows))
    pq.write_table(changed, broken / "scores.parquet")
    said = refused(cli, corpus.path, broken)
    assert said.startswith(f"{broken / 'scores.parquet'}: ")
    assert "row" in said


def test_a_fused_corpus_is_neither_panel_nor_reference(world, cli, tmp_path):
    corpus, _, run = world
    fused = tmp_path / "fused"
    assert cli("fuse", corpus.path, run, "--strategy", "pool", "-o", fused)[0] == 0
    assert refused(cli, corpus.path, fused) == (
        f"{fused} is a fused corpus: human votes are in its distributions already, so they cannot be audited against "
        "those humans; audit the runs it was made from, or train on it and use 'serann evaluate'"
    )
    assert refused(cli, fused, run) == (
        f"{fused} is a fused corpus: what it was fused from is in it already, so nothing can be measured against it; "
        "audit against the corpus that was fused"
    )


def test_no_run_a_half_finished_run_and_other_things_in_its_place(world, cli, tmp_path):
    corpus, _, run = world
    assert refused(cli, corpus.path, tmp_path / "nowhere") == (
        f"no run at {tmp_path / 'nowhere'}: it has no run.json; make one with: serann annotate CORPUS --model M -o "
        f"{tmp_path / 'nowhere'}"
    )
    lost = copy(run, tmp_path / "lost")
    (lost / "run.json").unlink()
    assert refused(cli, corpus.path, lost).startswith(f"no run at {lost}: it has no run.json")
    half = copy(run, tmp_path / "half")
    (half / "failures.parquet").unlink()
    assert refused(cli, corpus.path, half) == (
        f"the run at {half} is unfinished; give the same serann annotate command again to go on"
    )
    for mark, words in (
        (
            "prediction.json",
            "is the predictions of a trained model, not a run or a corpus; 'serann evaluate' scores those",
        ),
        ("model.json", "is a trained model, not a run or a corpus; 'serann evaluate' scores those"),
        ("export.json", "is an export, not a run or a corpus; give the run or the corpus it was made of"),
    ):
        folder = tmp_path / mark.removesuffix(".json")
        folder.mkdir()
        write_json(folder / mark, {})
        assert refused(cli, corpus.path, folder) == f"{folder} {words}"
    assert refused(cli, run, corpus.path) == (
        f"{run} is a run, not a corpus; give the corpus first: serann audit CORPUS {run}"
    )
    assert refused(cli, tmp_path / "nowhere", run).startswith(f"no corpus at {tmp_path / 'nowhere'}: nothing is there")


def test_a_run_given_twice(world, cli, tmp_path):
    corpus, _, run = world
    assert refused(cli, corpus.path, run, run) == f"{run} is given twice; give each run or panel once"
    link = tmp_path / "link"
    link.symlink_to(run)
    assert refused(cli, corpus.path, run, link) == f"{link} is given twice; give each run or panel once"


def test_only_controls(world, cli, tmp_path):
    corpus, _, run = world
    control = copy(run, tmp_path / "silence")
    info = read_json(control / "run.json", what="run")
    info["identity"]["control"] = "silence"
    write_json(control / "run.json", info)
    assert refused(cli, corpus.path, control) == (
        "controls are measured against the run they belong to; give that run first"
    )


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--level", 95, "the level of intervals is 95.0; expected a number between 0 and 1, such as 0.95"),
        ("--level", 1, "the level of intervals is 1.0; expected a number between 0 and 1, such as 0.95"),
        ("--draws", 0, "the number of draws is 0; expected 1 or more"),
        ("--votes-scored", 1, "--votes-scored is 1; expected 2 or more (one vote has no unbiased squared error)"),
    ],
)
def test_numbers_out_of_range(world, cli, option, value, sentence):
    corpus, _, run = world
    assert refused(cli, corpus.path, run, option, value) == sentence


def test_more_votes_scored_than_there_are(world, cli):
    corpus, _, run = world
    assert refused(cli, corpus.path, run, "--votes-scored", 50) == (
        f"--votes-scored is 50, but no utterance of {corpus.path} has more than 8 held-out human votes; choose 8 or "
        "fewer"
    )


def test_reports_that_cannot_be_written_are_refused_before_anything_is_computed(world, cli, tmp_path):
    corpus, _, run = world
    first = (corpus.path, run, "-o")
    assert refused(cli, *first, tmp_path / "rep.pdf") == (
        f"a report is one HTML file with its figures beside it; {tmp_path / 'rep.pdf'} does not end in .html: write -o "
        f"{tmp_path / 'rep.html'}"
    )
    assert refused(cli, *first, tmp_path / "report").endswith(f"write -o {tmp_path / 'report.html'}")
    (tmp_path / "folder.html").mkdir()
    assert refused(cli, *first, tmp_path / "folder.html") == (
        f"{tmp_path / 'folder.html'} is a directory; name a file in it, such as "
        f"{tmp_path / 'folder.html' / 'report.html'}"
    )
    (tmp_path / "file").write_text("x")
    assert refused(cli, *first, tmp_path / "file" / "r.html") == (
        f"{tmp_path / 'file' / 'r.html'} cannot be written: {tmp_path / 'file'} is no directory; choose an output "
        "that you may write to"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.html"]


def test_a_place_that_may_not_be_written_to(world, cli, tmp_path, monkeypatch):
    corpus, _, run = world
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != tmp_path)
    assert refused(cli, corpus.path, run, "-o", tmp_path / "r.html") == (
        f"{tmp_path / 'r.html'} cannot be written: {tmp_path} may not be written to; choose an output that you may "
        "write to"
    )


def test_a_folder_that_is_missing_is_made_and_a_report_is_not_replaced_unasked(world, cli, tmp_path):
    corpus, _, run = world
    words = ("audit", corpus.path, run, "--draws", 1, "-o", tmp_path / "a" / "b" / "r.html")
    assert cli(*words)[0] == 0
    names = ["r.html", "r.json", "r.parquet", "r.utterances.parquet"]
    assert sorted(p.name for p in (tmp_path / "a" / "b").iterdir()) == names
    there = ", ".join(str(tmp_path / "a" / "b" / name) for name in names)
    assert refused(cli, *words[1:]) == (
        f"{there} are there already, so no report was written; choose another output, or pass --overwrite to replace it"
    )
    assert cli(*words, "--overwrite")[0] == 0


def test_a_report_never_replaces_a_run_or_a_corpus(world, cli, tmp_path):
    corpus, _, run = world
    mine = copy(run, tmp_path / "run")
    before = (mine / "run.json").read_bytes()
    assert refused(cli, corpus.path, mine, "--overwrite", "-o", mine / "run.html") == (
        f"the figures of {mine / 'run.html'} would go to {mine / 'run.json'}, which is there and is no audit's; choose "
        "another name"
    )
    assert (mine / "run.json").read_bytes() == before


def test_a_report_is_not_made_of_a_broken_json_beside_it(world, cli, tmp_path):
    corpus, _, run = world
    (tmp_path / "r.json").write_text("{")
    assert "is there and is no audit's" in refused(cli, corpus.path, run, "-o", tmp_path / "r.html")


def test_a_gate_on_what_is_not_there_lists_what_is(world, cli):
    corpus, _, run = world
    said = refused(cli, corpus.path, run, "--require", "sq<=0.1, jsd>=1")
    assert said.startswith(
        "--require cannot be read: 'sq<=0.1': there is no figure 'sq'; 'jsd>=1': there is no figure 'jsd'."
    )
    assert "vote_difference, non_inferior, cross_kappa" in said


def test_a_gate_on_an_undefined_figure_is_missed_for_its_reason(cli, tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "c", utterances=40, votes=3, seen=1)
    run = simulated_run(tmp_path / "r", corpus, truth)
    few = ("audit", corpus.path, run, "--draws", 1, "--votes-scored", 3, "--require")
    code, said, _ = cli(*few, "effective_votes>=0, label_mass.low>=0, sq_unbiased<=9")
    assert code == 3
    assert (
        "r: effective_votes>=0 is missed, found nothing defined (no human votes are left beside the scored ones, so "
        "there is no curve)"
    ) in said
    assert "r: label_mass.low>=0 is missed, found nothing defined (it has no interval)" in said
    assert "r: sq_unbiased<=9 is met" in said


def test_labels_in_another_order_and_numbers_that_are_no_durations(world, cli, tmp_path):
    """What looks wrong and is not: the order of labels is read from the tables, an unknown duration is no duration."""
    corpus, _, run = world
    rows = [{**row, "duration": float("nan") if i % 2 else None} for i, row in enumerate(corpus.utterances.to_pylist())]
    turned = LabelSet("turned", tuple(reversed(corpus.labels.labels)))
    other = relabelled(corpus, tmp_path / "turned", labels=turned, utterances=from_rows(rows, UTTERANCES))
    other = write_division(other, divide_votes(other, seen=2), None)
    code, said, out = cli("audit", other.path, run, "--draws", 1)
    assert code == 0, said
    assert "90 utterances" in out


def test_examples_that_a_panel_was_shown_are_not_scored(tmp_path):
    """A few-shot panel is told the seen votes of its examples: those utterances are left out, and counted."""
    corpus, _ = simulated_corpus(tmp_path / "c", utterances=120, speakers=12, audio=True)
    run = run_scripted(corpus, tmp_path / "r", panel="few-shot", votes=0)
    shown = [entry.utterance for entry in choose_examples(corpus, 1)]
    assert len(shown) == 6
    found = audit(corpus, [run], draws=1)
    assert found.panels[0].skipped == 6
    assert not set(shown) & set(present(found.rows).ids)
    assert any(
        "r has no distribution for 6 utterances that could be scored" in note for note in notes_in_words(found.notes)
    )
