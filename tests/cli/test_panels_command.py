"""What `serann panels NAME --render` shows: every line of a question, and the turns of examples with their answers."""

import json

import pytest
from serann.annotator.cli import app
from serann.prompts import list_panels
from typer.testing import CliRunner


def shown(*call):
    found = CliRunner().invoke(app, ["panels", *call])
    assert found.exit_code == 0, found.output
    return found.stdout


@pytest.mark.parametrize("name", list_panels())
def test_every_line_of_a_text_is_indented(name):
    blocks = shown(name, "--render").split("\n\n")
    texts = [block.splitlines() for block in blocks if ":\n  [audio]\n" in block]
    listeners = json.loads(shown(name, "--render", "--json"))["listeners"]
    assert {lines[0].removesuffix(":") for lines in texts} == {row["rater"] for row in listeners}
    text_of = {row["rater"]: row["text"] for row in listeners}
    for head, sound, *lines in texts:
        assert sound == "  [audio]"
        assert lines == [f"  {line}" for line in text_of[head.removesuffix(":")].splitlines()]


def test_examples_are_shown_with_question_and_answer(tmp_path):
    found = shown("few-shot", "--render")
    first = "  [audio: an utterance of the train split heard as neutral]\n"
    assert f"examples, heard before every utterance:\n{first}" in found
    assert "  Which emotion is expressed? Answer with one of: neutral, happy, angry" in found
    assert found.count("\n  answer: ") == 6
    named = tmp_path / "shown.toml"
    named.write_text(
        'name = "shown"\nquestion = "emotion"\nform = "label"\n'
        '[[examples]]\nutterance = "u001"\nlabel = "sad"\n[[listeners]]\nfocus = "voice"\ntemperature = 1\n'
    )
    assert "  [audio: u001]\n" in shown(str(named), "--render")
    turns = json.loads(shown(str(named), "--render", "--json"))["examples"]
    assert [(turn["audio"], turn["answer"]) for turn in turns] == [("u001", "sad")]
    assert "examples" not in shown("crossed", "--render")
    assert json.loads(shown("crossed", "--render", "--json"))["examples"] == []
    assert "examples" not in json.loads(shown("crossed", "--json"))
