"""The options of a run: one list of them, the same from Python, for the plan, and on the command line."""

import dataclasses
import inspect

import pytest
from fixtures.scripted_runs import corpus_of
from serann.annotator.cli.annotate import annotate as command
from serann.annotator.engines.base import EngineSpec
from serann.annotator.engines.scripted import ScriptedEngine
from serann.annotator.run.annotate import annotate, plan_annotation
from serann.annotator.run.asking import Asked, Asking

# What else `annotate` takes; the rest of it is `Asked`.
SITTING = {"workers": 2, "max_hours": None, "selfcheck": None, "overwrite": False}


def test_what_may_be_asked_is_listed_once():
    fields = {field.name: field for field in dataclasses.fields(Asking)}
    assert fields.pop("model").default is dataclasses.MISSING
    assert Asked.__annotations__ == {name: field.type for name, field in fields.items()}
    assert Asked.__total__ is False  # everything has its default in `Asking`


def test_the_command_line_has_every_option_and_the_same_defaults():
    shown = inspect.signature(command).parameters
    fields = {field.name: field.default for field in dataclasses.fields(Asking) if field.name != "model"}
    fields["attributes"] = ""  # a list of names there
    expected = SITTING | fields
    assert {name: shown[name].default for name in expected} == expected
    own = inspect.signature(annotate).parameters
    assert {name: own[name].default for name in SITTING} == SITTING


def test_an_option_that_is_not_there_is_an_error_of_the_caller(tmp_path):
    corpus = corpus_of(tmp_path / "corpus", 2)
    engine = ScriptedEngine(EngineSpec("scripted", "scripted"))
    for call in (annotate, plan_annotation):
        with pytest.raises(TypeError, match="unexpected keyword argument 'vote'"):
            call(corpus, "scripted", out=tmp_path / "run", engine=engine, vote=3)  # pyright: ignore[reportCallIssue]
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
