"""`serann runs show` and `serann models NAME`: looking again at what is there."""

import json

from fixtures.simulated import simulated_corpus
from serann.annotator.cli import app
from serann.data.errors import OptionError, RunError
from typer.testing import CliRunner


def invoke(*words: str):
    return CliRunner().invoke(app, list(words))


def test_a_run_is_shown_as_it_was_at_its_end(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "c", utterances=6)
    call = [
        "annotate",
        str(corpus.path),
        "--model",
        "scripted",
        "--engine",
        "scripted",
        "-o",
        str(tmp_path / "r"),
        "--json",
    ]
    made = json.loads(invoke(*call).stdout)
    assert json.loads(invoke("runs", "show", str(tmp_path / "r"), "--json").stdout) == made
    told = invoke("runs", "show", str(tmp_path / "r"))
    assert told.exit_code == 0
    assert "Mean answer distribution" in told.output
    assert "panel crossed, mode exact" in told.output


def test_what_is_no_run_is_a_sentence(tmp_path):
    assert isinstance(invoke("runs", "show", str(tmp_path)).exception, RunError)


def test_one_model_is_shown_with_its_family_alone():
    found = json.loads(invoke("models", "demo", "--json").stdout)
    assert [row["name"] for row in found["models"]] == ["demo"]
    assert len(found["families"]) == 1
    assert len(json.loads(invoke("models", "--json").stdout)["models"]) > 1
    refused = invoke("models", "qwen9").exception
    assert isinstance(refused, OptionError)
    assert "no model has the short name 'qwen9'; expected one of demo" in str(refused)
