"""The command line: help with an example that runs, errors as one sentence, exit codes."""

import re
import subprocess
import sys

import pytest
from serann.annotator.cli import BENCHMARK_COMMANDS, COMMANDS, CORPUS_COMMANDS, app, main
from typer.testing import CliRunner

ALL = [*([name] for name in COMMANDS), *(["corpus", name] for name in CORPUS_COMMANDS)]
ALL += [["benchmark", name] for name in BENCHMARK_COMMANDS]


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"[│╭╮╰╯─]|\x1b\[[0-9;]*m", " ", text))


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_every_command_has_help_with_an_example(command):
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert f"Example: serann {' '.join(command)}" in plain(result.stdout)


def run(arguments, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["serann", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code, capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["corpus", "info", "nowhere"], "error: no corpus at nowhere: nothing is there"),
        (["annotate", "nowhere", "--model", "demo", "-o", "run"], "error: no corpus at nowhere"),
        (
            ["annotate", "demo", "--model", "no/such-model", "-o", "run"],
            "no/such-model was not found on disk, and the hub",
        ),
        (["audit", "demo", "nowhere"], "nowhere"),
        (["fuse", "demo", "nowhere", "-o", "fused"], "no run at nowhere"),
        (["train", "nowhere", "--model", "wavlm", "-o", "model"], "nowhere"),
        (
            ["train", "demo", "-o", "model"],
            "make one with 'serann fuse demo RUN -o fused', or without a run 'serann fuse ",
        ),
        (["predict", "nowhere", "demo", "-o", "pred"], "nowhere"),
        (["evaluate", "nowhere", "demo"], "nowhere"),
        (["corpus", "holdout", "demo", "--seen", "0", "-o", "divided"], "expected 1 or more human votes"),
        (["fuse", "demo", "--strategy", "majority", "-o", "fused"], "majority"),
        (["panels", "nobody"], "nobody"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_users_mistake_is_a_sentence_and_exit_code_2(arguments, sentence, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, shown = run(arguments, capsys, monkeypatch)
    assert code == 2
    assert shown.err.startswith("error: ")
    assert sentence in shown.err
    assert "Traceback" not in shown.err
    assert list(tmp_path.iterdir()) == []


def test_holdout_writes_a_divided_corpus_elsewhere(tmp_path, capsys, monkeypatch):
    code, shown = run(["corpus", "holdout", "demo", "--seen", "3", "-o", tmp_path / "d", "--json"], capsys, monkeypatch)
    assert code == 0
    assert '"seen": 3' in shown.out
    code, shown = run(["corpus", "holdout", "demo", "--seen", "3", "-o", tmp_path / "d"], capsys, monkeypatch)
    assert code == 2
    assert "exists already" in shown.err
    code, shown = run(["corpus", "info", tmp_path / "d", "--json"], capsys, monkeypatch)
    assert code == 0
    assert '"simulated": true' in shown.out


def test_the_version_is_printed():
    done = subprocess.run([sys.executable, "-m", "serann.annotator.cli", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("serann 0.")
