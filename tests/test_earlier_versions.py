"""What an earlier version wrote opens, is gone on with, and says the same: fixtures/earlier, one folder a version.

tools/make_earlier_fixtures.py made them with the code of that version.
"""

import json
import math
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import serann
from make_earlier_fixtures import (
    EXPECTATIONS,
    EXTENDED,
    STEPS,
    UTTERANCES_A_SPEAKER,
    answers,
    corpus_tables,
    described,
    run_tables,
    with_audio,
)
from serann.annotator.cli import app
from typer.testing import CliRunner

EARLIER = Path(__file__).parent / "fixtures" / "earlier"
VERSIONS = sorted(folder.name for folder in EARLIER.iterdir() if folder.is_dir())
UTTERANCES = 14 * UTTERANCES_A_SPEAKER
# How closely a network's answers are repeated on another machine.
ANSWERS = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(params=VERSIONS)
def earlier(request, tmp_path, monkeypatch) -> Path:
    """A version's folder, copied, the working directory; fused corpora name sounds by absolute paths, as they did."""
    folder = tmp_path / "earlier"
    shutil.copytree(EARLIER / request.param, folder, copy_function=shutil.copyfile)
    for file in folder.glob("fused*/utterances.parquet"):
        table = pq.read_table(file)
        sounds = [str((file.parent / s).resolve()) if ".." in s else s for s in table["audio"].to_pylist()]
        pq.write_table(with_audio(table, sounds), file)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def expected(earlier) -> dict[str, Any]:
    return read(EXPECTATIONS)


def read(file: str | Path) -> Any:
    return json.loads(Path(file).read_text(encoding="utf-8"))


def call(command: str) -> str:
    """Run a command to a good end, and return what it printed."""
    done = CliRunner().invoke(app, command.split())
    assert done.exit_code == 0, f"serann {command}\n{done.output}\n{done.exception}"
    return done.stdout


def annotated(command: str) -> dict[str, Any]:
    """What the last session of a run says that it did."""
    session = json.loads(call(f"{command} --json"))["session"]
    assert (session["remaining"], session["failures"], session["changed_sounds"]) == (0, 0, 0)
    return session


def assert_as_described(tables: dict[str, pa.Table], expected: dict[str, Any]) -> None:
    """The tables hold the rows and columns that are described; they may have further columns."""
    for name, found in expected.items():
        assert described(tables[name], list(found["columns"])) == found, name


def assert_same_rows(found: pa.Table, wanted: pa.Table, *keys: str) -> None:
    """A table holds every row of another, in whatever order where keys tell them apart; it may have further columns,
    and further rows if there are keys.
    """
    rows, there = wanted.to_pylist(), found.select(wanted.column_names).to_pylist()
    if keys:
        known = {tuple(row[key] for key in keys): row for row in there}
        assert len(known) == len(there)
        there = [known[tuple(row[key] for key in keys)] for row in rows]
    assert len(there) == len(rows)
    for row, other in zip(rows, there, strict=True):
        assert {name for name, value in row.items() if not same(other[name], value)} == set(), (row, other)


def same(found: Any, wanted: Any, *, relative: float = 1e-6) -> bool:
    """Whether two values are equal, but for the last digits of numbers, as another machine has them."""
    if isinstance(wanted, list) and isinstance(found, list):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    if isinstance(wanted, float) and isinstance(found, float | int):
        both_none = math.isnan(found) and math.isnan(wanted)
        return both_none or math.isclose(found, wanted, rel_tol=relative, abs_tol=1e-9)
    return found == wanted


def figures(found: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every number, truth and absence in a JSON document, with its place; texts are none."""
    if isinstance(found, dict | list):
        for key, value in found.items() if isinstance(found, dict) else enumerate(found):
            yield from figures(value, f"{place}/{key}")
    elif not isinstance(found, str):
        yield place, found


def assert_same_figures(found: Any, recorded: Any) -> None:
    """Every recorded figure stands in its place; there may be further ones."""
    known, wanted = dict(figures(found)), dict(figures(recorded))
    assert len(wanted) > 100
    assert not wanted.keys() - known.keys()
    differing = {
        place: (known[place], value) for place, value in wanted.items() if not same(known[place], value, relative=1e-9)
    }
    assert not differing


# --------------------
# Corpora.


def test_a_corpus_opens_and_is_as_it_was(expected):
    corpus = serann.open_corpus("corpus")
    assert_as_described(corpus_tables(corpus), expected["corpora"]["corpus"])
    assert len(corpus.ids) == UTTERANCES
    assert all(corpus.audio_path(i).is_file() for i in range(UTTERANCES))
    found = json.loads(call("corpus check corpus --json"))
    assert not [finding for finding in found["findings"] if finding["severity"] == "error"]


@pytest.mark.parametrize("name", ["fused", "fused-dime"])
def test_a_fused_corpus_opens_and_is_trained_on(expected, name):
    corpus = serann.open_corpus(name)
    assert_as_described(corpus_tables(corpus), expected["corpora"][name])
    command = f"train {name} --model encoder --from-scratch --epochs 1 --batch-seconds 10"
    trained = json.loads(call(f"{command} -o trained --json"))
    assert (trained["finished"], trained["failures"]) == (True, [])
    assert trained["fused"]["examples"] == corpus.in_split("train").sum()


def test_a_corpus_and_a_run_are_fused_to_the_same(earlier):
    call(f"{STEPS['fused'].command.removesuffix('fused')}again")
    then, now = (pq.read_table(f"{folder}/distributions.parquet") for folder in ("fused", "again"))
    assert now["utterance_id"] == then["utterance_id"]
    assert now["source"] == then["source"]
    # 0.1.0 fitted the human mixture, to which all of these fell back, by a fitter of its own: eight classes, one start.
    # latent-class's fitter at power 0 moves p by up to .027 on these 24 utterances, by less on more.
    for column, most in (("p", 0.03), ("effective_votes", 0.2)):
        np.testing.assert_allclose(now[column].to_pylist(), then[column].to_pylist(), rtol=0, atol=most)


# --------------------
# Runs.


def test_a_run_opens_and_is_as_it_was(expected):
    assert len(expected["runs"]) == 5
    for name, tables in expected["runs"].items():
        assert_as_described(run_tables(serann.open_run(name)), tables)


@pytest.mark.parametrize(("name", "straight"), [("run-killed", "run-straight"), ("texts-killed", "texts-straight")])
def test_a_killed_run_goes_on_to_the_same_and_asks_nothing_twice(earlier, expected, name, straight):
    session = annotated(STEPS[name].command)
    assert session["utterances"] == UTTERANCES - expected["durable"][name]
    assert len(serann.open_run(name).ids) == UTTERANCES
    files = [file.name for file in (earlier / straight).glob("*.parquet")]
    assert len(files) >= 5
    for file in files:
        assert_same_rows(pq.read_table(f"{name}/{file}"), pq.read_table(f"{straight}/{file}"))


def test_a_run_that_was_killed_while_its_tables_were_replaced_is_whole_and_asks_nothing(earlier):
    name = "run-committing"
    with pytest.raises(Exception, match="is unfinished; give the same serann annotate command again to go on"):
        serann.open_run(name)
    assert annotated(STEPS[name].command)["utterances"] == 0
    run, straight = (run_tables(serann.open_run(of)) for of in (name, "run-straight"))
    heard = set(run["scores"]["utterance_id"].to_pylist())
    assert len(heard) == 6
    for table in ("scores", "votes"):
        of_these = [utterance in heard for utterance in straight[table]["utterance_id"].to_pylist()]
        assert_same_rows(run[table], straight[table].filter(pa.array(of_these)))
    assert_same_rows(run["listeners"], straight["listeners"])


def test_a_finished_run_is_extended_by_utterances_and_votes(earlier, expected):
    before = run_tables(serann.open_run("run-rated"))
    rated = pq.read_table("run-rated/ratings.parquet")
    session = annotated(EXTENDED)
    after = serann.open_run("run-rated")
    assert (len(after.ids), session["utterances"]) == (18, 6)
    assert_same_rows(after.scores, before["scores"], "utterance_id", "listener")
    assert_same_rows(after.votes, before["votes"], "utterance_id", "rater_id", "draw")
    assert_same_rows(pq.read_table("run-rated/ratings.parquet"), rated, "utterance_id", "rater_id", "dimension")
    wanted, found = expected["extended"], answers(after.scores)
    assert after.votes.num_rows == wanted["votes"] == 18 * 9
    assert found.keys() == wanted["scores"].keys()
    np.testing.assert_allclose(list(found.values()), [wanted["scores"][key] for key in found], **ANSWERS)


def test_a_run_is_audited_to_the_same_figures(earlier):
    call("audit corpus run -o again.html")
    assert_same_figures(read("again.json"), read("audit.json"))
    then, now = (rows_of(file) for file in ("audit.parquet", "again.parquet"))
    assert len(then) > 500
    assert not then.keys() - now.keys()
    for key, row in then.items():
        np.testing.assert_allclose(now[key], row, rtol=1e-9, atol=1e-9, err_msg=str(key))


def rows_of(file: str) -> dict[tuple[str, ...], list[float]]:
    """The figures of an audit's long table, by what they are."""
    rows = pq.read_table(file).to_pylist()
    keys, values = ("section", "panel", "part", "metric"), ("value", "low", "high")
    found = {
        tuple(str(row[key]) for key in keys): [math.nan if row[v] is None else float(row[v]) for v in values]
        for row in rows
    }
    assert len(found) == len(rows)
    return found


# --------------------
# Models.


def predicted(folder: str) -> dict[str, np.ndarray]:
    """A prediction as it lies on the disk, by column."""
    distributions, ratings = (pq.read_table(f"{folder}/{name}.parquet") for name in ("distributions", "ratings"))
    rated = {(row["utterance_id"], row["dimension"]): row["value"] for row in ratings.to_pylist()}
    return {
        "ids": np.array(distributions["utterance_id"].to_pylist()),
        "p": np.array(distributions["p"].to_pylist()),
        "ratings": np.array([rated[key] for key in sorted(rated)]),
    }


def assert_predicts_the_same(model: str) -> None:
    call(f"predict {model} corpus -o again")
    then, now = predicted("predictions"), predicted("again")
    assert len(then["p"]) == UTTERANCES
    np.testing.assert_array_equal(now["ids"], then["ids"])
    np.testing.assert_allclose(now["p"], then["p"], **ANSWERS)
    np.testing.assert_allclose(now["ratings"], then["ratings"], rtol=0, atol=1e-4)


def test_a_model_opens_and_predicts_the_same(earlier):
    assert_predicts_the_same("model")


def test_a_training_that_was_killed_amid_an_epoch_goes_on_to_the_same_weights(earlier, expected):
    made_with = expected["software"]["transformers"]
    if version("transformers") != made_with:
        # The encoder's configuration, which may not change meanwhile, holds the version of transformers.
        pytest.skip(f"a training goes on under the transformers that it began with, {made_with}")
    done = []
    options = {"from_scratch": True, "epochs": 3, "batch_seconds": 10.0, "head_learning_rate": 0.01}
    serann.train("fused", model="encoder", out="model-killed", progress=lambda n, of: done.append((n, of)), **options)
    assert done[0] == (8, 15)  # an epoch of five batches and two of the next were done
    assert not Path("model-killed/checkpoint").exists()
    then, now = (
        [json.loads(line) for line in Path(f"{name}/metrics.jsonl").read_text().splitlines()]
        for name in ("model", "model-killed")
    )
    assert [row["epoch"] for row in now] == [1, 2, 3]
    for before, after in zip(then, now, strict=True):
        assert after["loss"] == pytest.approx(before["loss"], abs=1e-4)
    assert_predicts_the_same("model-killed")


def test_predictions_are_evaluated_to_the_same_figures(earlier):
    call("evaluate predictions corpus -o again.html")
    assert_same_figures(read("again.json"), read("evaluation.json"))
