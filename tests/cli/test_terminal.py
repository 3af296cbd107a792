"""What a user's files say is shown as it stands: a terminal obeys no label, no id and no path."""

import pytest
from serann.annotator.cli import app
from serann.annotator.cli.console import note, print_table, printable, progress
from serann.data.corpus import write_corpus
from serann.data.labels import LabelSet
from serann.data.tables import UTTERANCES, VOTES, from_rows
from typer.testing import CliRunner

# A closing tag alone was a traceback, an opening one vanished, a word between colons became a picture.
STRANGE = ["[/laugh]", "[sad]", ":smile:", "[bold red]x[/]", "\\[link=x]"]


def test_markup_and_emoji_in_tables_and_notes_are_shown_as_they_stand(capsys):
    print_table("[sad] :smile: [/laugh]", STRANGE, [STRANGE, [1, None, float("nan"), 0.25, "x"]])
    note(" ".join(STRANGE))
    out, err = capsys.readouterr()
    for text in STRANGE:
        assert out.count(text) >= 2
    assert out.startswith("[sad] :smile: [/laugh]\n")
    assert err == " ".join(STRANGE) + "\n"


def test_markup_in_a_progress_bar_is_shown_as_it_stands(capsys):
    with progress("[/laugh] [sad]", total=1) as step:
        step(1, 1, rate=2.0, beside="[sad]")
    assert "[/laugh] [sad]" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["\x1b[2J", "\x07", "\x9b31m", "\u202eevil", "\r"])
def test_controls_are_spelt_out(text, capsys):
    note(f"a{text}b")
    print_table("t", ["c"], [[f"a{text}b"]])
    out, err = capsys.readouterr()
    assert text not in out + err
    assert err.strip() == f"a{text.encode('unicode_escape').decode()}b"
    assert printable("two\nlines\tand more ä 聞") == "two\nlines\tand more ä 聞"


def strange_corpus(path):
    labels = LabelSet("own", ("[sad]", "[/laugh]", ":smile:"))
    rows = [
        {"utterance_id": f"[/b]{i}", "audio": f"[sad]{i}.wav", "duration": 1.0, "speaker": f"[/s{i % 2}]",
         "split": "train"}
        for i in range(4)
    ]  # fmt: skip
    votes = [
        {"utterance_id": row["utterance_id"], "source": "human", "draw": d, "label": labels.labels[(i + d) % 3],
         "rater_id": f"[/r{d}]", "rank": "primary", "weight": 1.0}
        for i, row in enumerate(rows)
        for d in range(3)
    ]  # fmt: skip
    return write_corpus(
        path, name="[/strange]", labels=labels, utterances=from_rows(rows, UTTERANCES),
        votes=from_rows(votes, VOTES, labels=labels), licence="CC0", provenance={}, simulated=True,
    )  # fmt: skip


def test_commands_show_strange_labels_and_ids(tmp_path):
    corpus = strange_corpus(tmp_path / "corpus")
    shown = CliRunner().invoke(app, ["corpus", "info", str(corpus.path)], catch_exceptions=False)
    assert shown.exit_code == 0
    assert all(label in shown.stdout for label in corpus.labels)
    checked = CliRunner().invoke(app, ["corpus", "check", str(corpus.path)], catch_exceptions=False)
    assert checked.exit_code == 1
    assert f"{corpus.path.name}/[sad]0.wav is missing" in "".join(checked.stdout.split("\n")).replace("  ", "")
    refused = CliRunner().invoke(app, ["corpus", "check", str(corpus.path), "[/sad]"])
    assert refused.exit_code == 2
    assert "[/sad]" in refused.stderr


def test_a_run_over_strange_labels_is_shown(tmp_path):
    corpus = strange_corpus(tmp_path / "corpus")
    call = ["annotate", str(corpus.path), "--model", "scripted", "--engine", "scripted", "-o", str(tmp_path / "[run]")]
    shown = CliRunner().invoke(app, call, catch_exceptions=False)
    assert shown.exit_code == 1  # none of its sounds is there
    assert "4 x its sound is missing; expected a sound file ([/b]0, [/b]1, [/b]2 and 1 more)" in shown.stderr
    assert f"each with its reason is in {tmp_path / '[run]' / 'failures.parquet'}" in shown.stderr
    assert all(label in shown.stdout for label in corpus.labels)
