"""`serann fuse` as a user types it."""

import json
import re

import pytest
import typer
from fixtures.simulated import simulated_corpus, simulated_run
from serann.annotator.cli.fuse import FuseCommand, fuse
from serann.data.errors import SerannError
from serann.data.fused import open_fused
from typer.testing import CliRunner

app = typer.Typer()
app.command("fuse", cls=FuseCommand)(fuse)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a divided corpus with sound, and a run over it."""
    place = tmp_path_factory.mktemp("command")
    corpus, truth = simulated_corpus(place / "corpus", audio=True)
    simulated_run(place / "run", corpus, truth)
    return place


def call(place, *words: str):
    return CliRunner().invoke(app, [str(place / w) if w in ("corpus", "run", "absent") else w for w in words])


def test_the_default_is_auto_and_says_where_the_proxy_was_taken(place, tmp_path):
    result = call(place, "corpus", "run", "-o", str(tmp_path / "fused"))
    assert result.exit_code == 0, result.output
    assert "fused: fused by auto" in result.stderr
    for text in ("Gain of the proxy model over the human mixture", "gender:female", "proxy taken", "latent-class"):
        assert text in result.stdout
    assert open_fused(tmp_path / "fused").info.strategy == "auto"


def test_without_runs_the_default_is_the_human_mixture(place, tmp_path):
    result = call(place, "corpus", "-o", str(tmp_path / "fused"))
    assert result.exit_code == 0, result.output
    assert "no run was given: auto is human-mixture" in result.stderr


def test_empirical_bayes_prints_shares_and_parameters(place, tmp_path):
    result = call(place, "corpus", "run", "--strategy", "empirical-bayes", "-o", str(tmp_path / "fused"))
    assert result.exit_code == 0, result.output
    assert "fused: fused by empirical-bayes" in result.stderr
    for text in (
        "strength",
        "temperature",
        "log score a seen vote",
        "seen votes",
        "neutral",
        "strength: how many human votes the panel counts for",
        "temperature: above 1 flattens the panel",
        "the folds' values may all lie to one side of it",
    ):
        assert text in result.stdout
    assert open_fused(tmp_path / "fused").info.strategy == "empirical-bayes"


def test_json_is_one_document_on_stdout(place, tmp_path):
    result = call(
        place,
        "corpus",
        "run",
        "--strategy",
        "dime-aug",
        "--blend",
        "pool",
        "--rho",
        "0.6",
        "-o",
        str(tmp_path / "f"),
        "--json",
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["strategy"], document["blend"]) == ("dime-aug", "pool")
    assert document["parameters"]["dime-aug"]["rho"] == 0.6
    assert document["fingerprint"] == open_fused(tmp_path / "f").fingerprint
    assert document["counts"]["new"] > 0


def test_a_missing_sound_is_listed_and_ends_with_exit_code_1(place, tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "corpus", audio=True)
    for sound in sorted((corpus.path / "audio").iterdir())[:40]:
        sound.write_bytes(b"")
    result = CliRunner().invoke(
        app,
        [str(corpus.path), "--strategy", "dime-aug", "--blend", "human", "--rho", "1", "-o", str(tmp_path / "fused")],
    )
    assert result.exit_code == 1
    told = r"failed: \d+ x its sound is empty \(zero bytes\); .*\(u0\d+, u0\d+, u0\d+ and \d+ more\)"
    assert re.search(told, result.stderr)
    assert "failed: each with its reason is in fusion.json" in result.stderr
    assert open_fused(tmp_path / "fused").info.counts["new"] > 0


def test_warnings_go_to_stderr(place, tmp_path):
    result = call(place, "corpus", "run", "--strategy", "human", "-o", str(tmp_path / "fused"))
    assert "warning: runs that were given and not used: 1" in result.stderr
    assert "warning:" not in result.stdout
    assert "temperature" not in result.stdout  # nothing was fitted, so nothing is explained


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["absent", "run"], "no corpus at"),
        (["corpus", "absent"], "no run at"),
        (
            ["corpus", "--strategy", "empirical-bayes"],
            "strategy 'empirical-bayes' needs one or more runs, and none was given",
        ),
        (["corpus", "run", "--strategy", "dime-aug", "--rho", "1.5"], "rho is 1.5; expected a share"),
        (["corpus", "run", "--strategy", "nonsense"], "unknown strategy 'nonsense'"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing_behind(place, tmp_path, words, sentence):
    result = call(place, *words, "-o", str(tmp_path / "fused"))
    assert isinstance(result.exception, SerannError)
    assert sentence in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_help_gives_an_example(place):
    result = call(place, "--help")
    assert result.exit_code == 0
    assert "Example: serann fuse divided run --strategy dime-aug" in " ".join(result.stdout.split())
