"""A strategy added as one object and one line of the registry: commands, errors, pages and the benchmark know it."""

import json
import re
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fixtures.simulated import simulated_corpus, simulated_run
from pydantic import BaseModel, ConfigDict, Field
from serann.annotator.cli import app, main
from serann.annotator.fusion import STRATEGIES, Blend, Evidence, Strategy, fuse, gather
from serann.annotator.fusion.base import Candidates, Estimate, Models, Strengths, source_column
from serann.annotator.fusion.models import fit_prior
from serann.annotator.fusion.strategies import ask, blend_by
from serann.annotator.run.run import open_run
from serann.data.corpus import open_corpus
from serann.data.errors import OptionError
from serann.data.fused import open_fused
from serann.data.votes import frequencies
from typer.testing import CliRunner


class ToyOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    sweetness: float = Field(0.5, description="How much of the mean is given to every utterance.")


class Toy:
    """Frequencies drawn towards those of all."""

    def __init__(self, share: float, mean: np.ndarray):
        self.share, self.mean = share, mean

    def blend(self, evidence: Evidence) -> Blend:
        return Blend(
            p=(1 - self.share) * frequencies(evidence.seen) + self.share * self.mean,
            effective_votes=np.where(evidence.voted, evidence.seen.sum(axis=1) + 1, np.nan),
            source=source_column(("toy", evidence.voted)),
            formula=TOY.formula,
            parameters={"sweetness": self.share},
            warnings=("a toy",),
        )

    def figures(self) -> Strengths:
        return Strengths([Estimate("toy", "sweetness", self.share, np.nan, np.nan, [], "stated")], {}, "by hand")

    def state(self) -> dict[str, Any]:
        return {"share": self.share, "mean": self.mean.tolist()}


def fit_toy(evidence: Evidence, options: ToyOptions, models: Models) -> Toy:
    return Toy(options.sweetness, frequencies(evidence.seen.sum(axis=0, keepdims=True))[0])


TOY = Strategy(
    name="toy",
    about="a mean of means, for the test",
    formula="p_u = (1 - s) h_u + s h",
    fit=fit_toy,
    read=lambda state, models: Toy(state["share"], np.array(state["mean"])),
    sources={"toy": "their seen votes, sweetened"},
    smooths=True,
    Options=ToyOptions,
    needs=frozenset({"votes"}),
    fits="once",
    compared={"mild": {"sweetness": 0.1}, "strong": {"sweetness": 0.9}},
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("toy")
    corpus, truth = simulated_corpus(place / "corpus", votes=9)
    simulated_run(place / "run", corpus, truth)
    return place


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setitem(STRATEGIES, "toy", TOY)


def call(*words: object):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
    return done


def refused(monkeypatch, capsys, *words: object) -> str:
    monkeypatch.setattr(sys, "argv", ["serann", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    said = " ".join(capsys.readouterr().err.split())
    assert end.value.code == 2, said
    assert "Traceback" not in said
    return said


def test_fuse_writes_it_with_its_option_its_words_and_its_page(place, tmp_path):
    words = ["fuse", place / "corpus", place / "run", "--strategy", "toy", "--sweetness", "0.25", "--no-sounds"]
    found = json.loads(call(*words, "-o", tmp_path / "fused", "--json").stdout)
    assert found["strategy"] == "toy"
    assert found["parameters"] == {"sweetness": 0.25}
    assert found["state"]["share"] == 0.25
    assert found["smooths"]
    assert found["report"]["strengths"]["estimates"][0]["name"] == "sweetness"
    assert any("their seen votes, sweetened (toy)" in said for said in found["report"]["fallback"]["sentences"])
    page = (tmp_path / "fused" / "report.html").read_text(encoding="utf-8")
    for words_of_page in ("Fused by toy", "one model was fitted to all train ballots", "their seen votes, sweetened"):
        assert words_of_page in page
    shown = call(*words, "--dry-run")
    assert "sweetness" in shown.stdout
    assert "warning: a toy" in shown.stderr


def test_help_lists_it_with_its_option_in_the_panel_of_strategies():
    said = re.sub(r"\s+", " ", re.sub(r"[│╭╮╰╯─]", " ", call("fuse", "--help").stdout))
    assert "toy: a mean of means, for the test" in said
    of_strategies = said[said.index("Options of strategies") :]
    assert "--sweetness" in of_strategies
    assert "toy: How much of the mean is given to every utterance." in of_strategies


def test_its_option_is_refused_with_another_strategy(place, tmp_path, monkeypatch, capsys):
    words = ["fuse", place / "corpus", place / "run", "--sweetness", "0.25", "-o", tmp_path / "out"]
    said = refused(monkeypatch, capsys, *words, "--strategy", "pool")
    assert "--sweetness belongs to toy, and the strategy is pool, which would pass it over; leave it out" in said
    said = refused(monkeypatch, capsys, "fuse", place / "corpus", "--strategy", "tay", "-o", tmp_path / "out")
    assert "unknown strategy 'tay'; expected one of auto, " in said
    assert ", toy" in said
    assert not (tmp_path / "out").exists()
    with pytest.raises(OptionError, match=r"no strategy has an option 'bitterness'; expected some of .*sweetness"):
        ask("toy", {"bitterness": 1})
    with pytest.raises(OptionError, match=r"options of toy: --sweetness: Input should be a valid number.*'much'"):
        ask("toy", {"sweetness": "much"})


def test_other_commands_take_it(place, tmp_path):
    words = ["--strategy", "toy", "--sweetness", "0.3", "-o", tmp_path / "next"]
    found = json.loads(call("fuse", place / "corpus", "--next", 5, *words, "--json").stdout)
    assert found["strategy"] == "toy"
    words = ["--proxy", place / "run", "--seen", 3, "--seeds", 1, "--no-stress", "--strategies", "toy", "--json"]
    found = json.loads(call("benchmark", "fusion", place / "corpus", *words).stdout)
    assert {row["strategy"] for row in found["rows"]} == {"human-mixture", "toy, mild", "toy, strong"}


def test_dime_aug_goes_on_from_it_and_takes_its_option(place):
    words = ["--strategy", "dime-aug", "--blend", "toy", "--sweetness", "0.2", "--rho", "0.01", "--dry-run", "--json"]
    found = json.loads(call("fuse", place / "corpus", *words).stdout)
    assert (found["strategy"], found["blend"]) == ("dime-aug", "toy")
    assert found["parameters"]["blend"] == {"sweetness": 0.2}


def test_its_models_are_candidates_of_auto(place, tmp_path, monkeypatch):
    offer = Candidates(fits=lambda runs: {"toy prior": fit_prior}, best=lambda cross, fold: "toy prior")
    monkeypatch.setitem(STRATEGIES, "toy", replace(TOY, candidates=offer))
    for name in ("latent-class", "empirical-bayes"):
        monkeypatch.setitem(STRATEGIES, name, replace(STRATEGIES[name], candidates=None))
    fused = fuse(open_corpus(place / "corpus"), [open_run(place / "run")], out=tmp_path / "auto")
    assert fused.info.parameters["model"] == "toy prior"


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "dime-aug"] + ["toy"])
def test_a_fit_is_read_again_from_the_json_of_its_state(place, tmp_path, strategy):
    """Used on utterances that it never met, it says what it says of its own corpus's outside train."""
    if STRATEGIES[strategy].missing():
        pytest.skip(STRATEGIES[strategy].missing())
    corpus, run = open_corpus(place / "corpus"), open_run(place / "run")
    fuse(corpus, [run], strategy=strategy, out=tmp_path / "fused")
    models = Models(STRATEGIES)
    again = STRATEGIES[strategy].read(open_fused(tmp_path / "fused").info.state, models)
    assert json.loads(json.dumps(again.state())) == open_fused(tmp_path / "fused").info.state
    evidence = gather(corpus, [run])
    outside = ~evidence.train
    own, read = blend_by(strategy, evidence), again.blend(replace(evidence))
    np.testing.assert_allclose(read.p[outside], own.p[outside], rtol=1e-9)
    assert read.source[outside].tolist() == own.source[outside].tolist()
    assert again.figures().reason or strategy == "toy"
