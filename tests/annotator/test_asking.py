"""The options of a run: one list of them, the same from Python, for the plan, and on the command line."""

import inspect
from typing import get_args

import pytest
from fixtures.scripted_runs import corpus_of
from serann.annotator.cli import app
from serann.annotator.cli.annotate import annotate as command
from serann.annotator.engines.base import ENGINES, EngineSpec
from serann.annotator.engines.scripted import ScriptedEngine
from serann.annotator.panel.controls import CONTROLS
from serann.annotator.run.annotate import annotate, plan_annotation
from serann.annotator.run.options import AnnotateOptions, SessionOptions
from serann.data.errors import OptionError
from serann.data.options import help_of
from typer.testing import CliRunner

DECLARED = {**AnnotateOptions.model_fields, **SessionOptions.model_fields}


def test_the_command_line_has_every_option_with_its_default_and_its_help():
    shown = inspect.signature(command).parameters
    for name, field in DECLARED.items():
        default = "" if name == "attributes" else field.default  # a list of names there
        assert shown[name].default == default, name
        (flag,) = get_args(shown[name].annotation)[1:]
        assert flag.help == field.description
        assert flag.help


def test_the_help_names_what_may_be_chosen():
    told = " ".join(CliRunner().invoke(app, ["annotate", "--help"]).output.replace("│", " ").split())
    assert "exact, sample or verbalized." in told
    assert "{choices}" not in told


def test_names_that_may_be_chosen_are_those_of_the_registries(tmp_path):
    assert help_of(AnnotateOptions.model_fields["mode"]).endswith("exact, sample or verbalized.")
    assert all(name in help_of(AnnotateOptions.model_fields["control"]) for name in CONTROLS)
    assert all(name in help_of(AnnotateOptions.model_fields["engine"]) for name in ENGINES)
    with pytest.raises(OptionError, match="unknown mode 'loud'; expected one of exact, sample, verbalized"):
        AnnotateOptions(mode="loud")
    with pytest.raises(OptionError, match="unknown control 'music'"):
        AnnotateOptions(control="music")


def test_options_are_a_model_or_keywords_or_both(tmp_path):
    corpus = corpus_of(tmp_path / "corpus", 2)
    runs = [
        annotate(corpus, "scripted", AnnotateOptions(engine="scripted", votes=3), out=tmp_path / "model"),
        annotate(corpus, "scripted", engine="scripted", votes=3, workers=1, out=tmp_path / "keywords"),
        annotate(corpus, "scripted", AnnotateOptions(engine="scripted"), votes=3, out=tmp_path / "both"),
    ]
    for run in runs:
        assert run.info["votes"] == 3
        assert run.votes.drop_columns(["run"]).equals(runs[0].votes.drop_columns(["run"]))


def test_an_option_that_is_not_there_or_does_not_fit_is_a_sentence(tmp_path):
    corpus = corpus_of(tmp_path / "corpus", 2)
    engine = ScriptedEngine(EngineSpec("scripted", "scripted"))
    for call in (annotate, plan_annotation):
        with pytest.raises(OptionError, match=r"there is no option 'vote'; is votes meant\?"):
            call(corpus, "scripted", out=tmp_path / "run", engine=engine, vote=3)
        with pytest.raises(OptionError, match="votes is 'many': input should be a valid integer"):
            call(corpus, "scripted", out=tmp_path / "run", engine=engine, votes="many")
    with pytest.raises(OptionError, match=r"(?s)seed is None.*there is no option 'vote'"):
        AnnotateOptions(**{"vote": 1, "seed": None})
    assert not (tmp_path / "run").exists()


def test_an_engine_that_was_brought_stays_open_and_its_own_is_closed(tmp_path, monkeypatch):
    corpus, made = corpus_of(tmp_path / "corpus", 2), []
    brought = ScriptedEngine(EngineSpec("scripted", "scripted"))
    annotate(corpus, "scripted", out=tmp_path / "brought", engine=brought)
    assert not brought.closed

    def make(spec):
        made.append(ScriptedEngine(spec))
        return made[0]

    monkeypatch.setattr("serann.annotator.run.asking.make_engine", make)
    annotate(corpus, "scripted", out=tmp_path / "own", engine="scripted")
    assert made[0].closed
