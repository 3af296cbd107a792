"""What is stated of models having met corpora: by each of a model's names, with a source; unknown where nothing is."""

import json
from pathlib import Path

import pytest
from serann.annotator.cli import app
from serann.annotator.models.exposure import CORPORA, corpus_called
from serann.annotator.models.families import KNOWN_MODELS, known_exposure
from typer.testing import CliRunner


@pytest.mark.parametrize(
    ("name", "corpus"),
    [
        ("crema-d", "CREMA-D"),
        ("CREMA_D voice", "CREMA-D"),
        ("cremad2", "CREMA-D"),
        ("IEMOCAP-session5", "IEMOCAP"),
        ("msp-podcast-v1.11", "MSP-Podcast"),
        ("msp_improv", "MSP-IMPROV"),
        ("EmoDB", "Emo-DB"),
        ("meld", "MELD"),
        ("demo", "serann-demo"),
        ("melded", None),
        ("democracy", None),
        ("my-iemocap", None),
        ("", None),
    ],
)
def test_corpora_by_the_names_they_are_given(name, corpus):
    assert corpus_called(name) == corpus


@pytest.mark.parametrize("model", ["qwen2-audio", "Qwen/Qwen2-Audio-7B-Instruct", "Qwen2-Audio-7B-Instruct"])
def test_a_model_is_known_by_each_of_its_names(model):
    told = known_exposure(model, "meld")
    assert told.startswith(f"Exposure of {model} to MELD: its makers report accuracy on the test split of MELD")
    assert "arXiv 2407.10759" in told


def test_what_nobody_states_is_unknown():
    told = known_exposure("qwen2-audio", "crema-d")
    assert told == (
        "Exposure of qwen2-audio to CREMA-D: unknown; no public statement about it is known to serann. "
        "It may have been trained on it."
    )
    assert "unknown; serann knows no public corpus by that name" in known_exposure("qwen2-audio", "our-calls")
    assert "unknown" in known_exposure("somebody/else", "iemocap")


def test_every_statement_has_a_source_and_a_corpus_that_is_listed():
    stated = [(corpus, found) for model in KNOWN_MODELS.values() for corpus, found in model.exposure.items()]
    assert len(stated) >= 4
    for corpus, found in stated:
        assert corpus in CORPORA
        assert found.status
        assert found.stated
        assert "arXiv" in found.source or Path(found.source).suffix == ".md"


def test_the_demo_models_statement_is_what_its_record_says():
    root = Path(__file__).parents[2]
    told = known_exposure("demo", "demo")
    record = (root / "data" / "demo" / "README.md").read_text()
    assert "6,000 simulated utterances" in told
    assert "6,000 simulated utterances" in record


def test_models_shows_it():
    shown = CliRunner().invoke(app, ["models"])
    assert shown.exit_code == 0
    assert "evaluated on its test split" in shown.stdout
    assert "unknown" in shown.stdout
    assert "arXiv 2407.10759" in shown.stderr
    found = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)["models"]
    exposure = {model["name"]: model["exposure"] for model in found}
    assert exposure["qwen2-audio"]["MELD"]["source"].startswith("Qwen2-Audio Technical Report")
    assert exposure["qwen2-audio"]["CREMA-D"] == {"status": "unknown"}
