"""Each kind of extension is one object and one line of a registry: a toy of each appears wherever its like does."""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest
from fixtures.simulated import simulated_corpus, simulated_run
from serann.annotator.audit.section import Absent, FigureRow, Finding, PanelSubject, Section
from serann.annotator.audit.sections import SECTIONS
from serann.annotator.cli import main
from serann.annotator.fusion import fuse
from serann.annotator.report.audit_words import FINDINGS
from serann.data.corpus import open_corpus
from serann.data.labels import LabelSet
from serann.data.readers import READERS, Reader
from serann.data.readers.base import Gatherer
from serann.data.scores.divergences import as_distribution
from serann.data.scores.intervals import Interval
from serann.data.scores.metric import METRICS, Metric
from serann.trainer import read_model_info
from serann.trainer.network.encoders import SpeechEncoder
from serann.trainer.network.loading import ENCODERS, Encoder
from serann.trainer.network.losses import CATEGORICAL, Categorical, cross_entropy
from transformers import WavLMConfig, WavLMModel

# --- the toys: an object each


TOY_METRIC = Metric(
    name="toy_worst",
    title="toy worst label",
    better="lower",
    low=0.0,
    high=1.0,
    about="largest |q − p| over the labels, p the shares of {votes}: a toy",
    formula="max |q − y|",
    source="this test",
    votes="all",
    totals=lambda x: np.abs(as_distribution(x.q) - as_distribution(x.counts)).max(axis=1),
)


@dataclass(frozen=True)
class ToyWeight:
    """The mean mass that a panel puts on its first label."""

    label: str
    mass: Interval


@dataclass(frozen=True)
class ToySizes:
    """How many utterances are audited."""

    size: int


def measure_toy(subject: PanelSubject) -> ToyWeight:
    scorer = subject.ground.scorer
    return ToyWeight(next(iter(scorer.reference.labels)), scorer.mean(scorer.repeat(subject.panel.q)[:, 0]))


TOY_SECTION = Section(
    name="toy_weight",
    title="Toy weight",
    about="The mean mass on the first label: a toy's definition.",
    measure=measure_toy,
    findings=lambda found: [Finding("leans-on-the-toy", None, {"toy_mass": found.mass}, "warns")],
    required={"toy_mass": "mean mass on the first label"},
)

TOY_LOSS = Categorical(of=cross_entropy, formula="-sum_c y_c ln q_c", source="this test")


class ToyConfig(WavLMConfig):
    model_type = "toy-ears"


def toy_config():
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    sounds = {"conv_dim": (8, 16), "conv_kernel": (400, 3), "conv_stride": (160, 2), "num_conv_pos_embeddings": 4}
    return ToyConfig(**sizes, **sounds, num_conv_pos_embedding_groups=2)


def fresh_toy(config, normalise):
    fields = {name: value for name, value in config.items() if name != "model_type"}
    return SpeechEncoder(WavLMModel(ToyConfig(**fields)), normalise=normalise)


TOY_ENCODER = Encoder(about="a toy", fresh=fresh_toy, small=toy_config)
PAIR = LabelSet("own", ("calm", "loud"))


def read_toy(source, options):
    """Lines of utterance, rater and label."""
    found = Gatherer(PAIR)
    for line in source.read_text(encoding="utf-8").splitlines():
        utterance, rater, label = line.split()
        found.utterance(utterance, speaker=utterance[0])
        found.vote(utterance, label, rater=rater, file=source.name)
    return found.finish(release="a toy's lines", licence="CC0-1.0", files=(source.name,))


TOY_READER = Reader(name="toy-lines", about="a toy: lines of votes", labels="own", read=read_toy, page="A toy's page.")


@pytest.fixture
def toys(monkeypatch):
    """The line of each registry."""
    module = ModuleType("serann.data.readers.toy_lines")
    module.READER = TOY_READER  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(METRICS, TOY_METRIC.name, TOY_METRIC)
    monkeypatch.setitem(SECTIONS, TOY_SECTION.name, TOY_SECTION)
    monkeypatch.setitem(CATEGORICAL, "toy-loss", TOY_LOSS)
    monkeypatch.setitem(ENCODERS, "toy-ears", TOY_ENCODER)
    monkeypatch.setitem(READERS, "toy-lines", "toy_lines")


@pytest.fixture
def serann(monkeypatch, capsys):
    """The command line in this process: exit code, stdout and stderr, boxes and line breaks taken out."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["serann", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def plain(text):
    return re.sub(r"\s+", " ", re.sub(r"[│╭╮╰╯─]|\x1b\[[0-9;]*m", " ", text))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A small corpus with sounds, a run on it, and what is fused from its seen votes."""
    path = tmp_path_factory.mktemp("toys")
    corpus, truth = simulated_corpus(path / "corpus", utterances=60, speakers=10, audio=True)
    simulated_run(path / "run", corpus, truth)
    fuse(corpus, [], strategy="human", out=path / "fused")
    return path


def test_each_toy_is_in_the_help(toys, serann):
    for command, words in (
        (("train",), ("jsd, dirichlet-multinomial or toy-loss", "macro_f1, ccc or toy_worst", "or toy-ears")),
        (("audit",), ("macro_f1, toy_worst, gap", "toy_mass")),
        (("corpus", "import"), ("hf or toy-lines",)),
    ):
        code, out, _ = serann(*command, "--help")
        assert code == 0
        for said in words:
            assert said in plain(out).replace(", or", " or"), said


def test_without_the_toys_nothing_of_them_is_left(serann):
    code, out, _ = serann("train", "--help")
    assert code == 0
    assert "toy" not in out


def test_a_metric_and_a_section_are_in_the_audits_json_table_page_gate_and_answer(toys, serann, place, tmp_path):
    page = tmp_path / "report.html"
    asked = "toy_worst<=1, toy_mass.low>=0, toy_mass>=0.999"
    arguments = (place / "corpus", place / "run", "--draws", "1", "--require", asked)
    code, out, err = serann("audit", *arguments, "-o", page, "--json")
    found = json.loads(out)
    assert code == 3, err
    assert [check["met"] for check in found["checks"]] == [True, True, False]
    for system in found["systems"]:
        (score,) = (row for row in system["scores"] if row["metric"] == "toy_worst")
        assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
    weight = found["details"][0]["toy_weight"]
    assert weight["label"] == found["corpus"]["labels"][0]
    assert found["findings"][0]["code"] == "leans-on-the-toy"
    said = f"Leans on the toy of run: toy mass {weight['mass']['value']:.3f}"
    assert said in found["answers"][0]
    figures = pq.read_table(page.with_suffix(".parquet")).to_pylist()
    row = next(row for row in figures if row["section"] == "details.toy_weight")
    assert (row["metric"], row["panel"]) == ("mass", "run")
    assert row["value"] == weight["mass"]["value"]
    assert "toy_worst" in pq.read_table(page.with_suffix("").with_suffix(".utterances.parquet")).column_names
    text = page.read_text(encoding="utf-8")
    for words in ("toy worst label\N{NO-BREAK SPACE}↓", "Toy weight", "a toy's definition", said):
        assert words in text.replace("&#39;", "'"), words
    code, _, err = serann("audit", *arguments)
    assert said in err
    code, _, err = serann("audit", *arguments[:2], "--require", "toy_wurst<=1")
    assert code == 2
    assert "macro_f1, toy_worst, gap" in err


def test_a_section_of_the_whole_audit_gives_its_own_rows_and_one_that_is_absent_its_reason(
    monkeypatch, serann, place, tmp_path
):
    whole = Section(
        name="toy_sizes",
        title="Toy sizes",
        about="How many utterances there are: a toy.",
        of="audit",
        measure=lambda subject: ToySizes(len(subject.ground.scorer.reference.ids)),
        figures=lambda found: [FigureRow("part=everything", "size", float(found.size), n=found.size)],
        findings=lambda found: [Finding("toy-sizes", None, {"toy_size": float(found.size)}, "blocks")],
        required={"toy_size": "utterances audited"},
    )
    absent = Section(name="toy_absent", title="Toy absent", about="-", measure=lambda _: Absent("no toy was given"))
    monkeypatch.setitem(SECTIONS, "toy_sizes", whole)
    monkeypatch.setitem(SECTIONS, "toy_absent", absent)
    page = tmp_path / "report.html"
    arguments = ("--draws", "1", "--require", "toy_size>=60, cross_kappa>=-1, winning_rate>=0", "-o", page, "--json")
    code, out, err = serann("audit", place / "corpus", place / "run", *arguments)
    found = json.loads(out)
    assert code == 0, err
    assert found["toy_sizes"] == {"size": 60}
    assert found["details"][0]["toy_absent"] == {"reason": "no toy was given"}
    figures = pq.read_table(page.with_suffix(".parquet")).to_pylist()
    (row,) = (row for row in figures if row["section"] == "toy_sizes")
    assert (row["part"], row["metric"], row["value"], row["n"]) == ("part=everything", "size", 60.0, 60)
    text = page.read_text(encoding="utf-8")
    for words in ("Toy sizes", "How many utterances there are", "Not shown: no toy was given.", "toy size 60.000"):
        assert words in text, words
    assert found["notes"][0] == "Toy sizes: toy size 60.000."
    monkeypatch.setitem(FINDINGS, "toy-sizes", "There are {toy_size} toys.")
    code, _, err = serann("audit", place / "corpus", place / "run", "--draws", "1")
    assert code == 0
    assert "There are 60.000 toys." in err


def test_a_loss_an_encoder_and_a_metric_are_trained_by_evaluated_and_compared(toys, serann, place, tmp_path):
    quick = ("--from-scratch", "--epochs", 1, "--batch-seconds", 20)
    for seed in (0, 1):
        options = ("--model", "toy-ears", "--loss", "toy-loss", "--best-by", "toy_worst", "--seed", seed)
        code, out, err = serann("train", place / "fused", *options, *quick, "-o", tmp_path / f"model{seed}")
        assert code == 0, err
        assert "development toy_worst" in out
        assert "TOY-LOSS" in out
    info = read_model_info(tmp_path / "model0")
    assert (info.options.loss, info.options.best_by) == ("toy-loss", "toy_worst")
    assert info.architecture.encoder["model_type"] == "toy-ears"
    (row,) = [json.loads(line) for line in (tmp_path / "model0" / "metrics.jsonl").read_text().splitlines()]
    assert 0 < row["toy_worst"] < 1
    for command, page in (
        (("evaluate", tmp_path / "model0", place / "corpus"), tmp_path / "evaluation.html"),
        (("compare", tmp_path / "model0", tmp_path / "model1", place / "corpus"), tmp_path / "comparison.html"),
    ):
        code, out, err = serann(*command, "-o", page)
        assert code == 0, err
        assert "toy_worst" in out
        scores = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["scores"]
        assert any(score["metric"] == "toy_worst" for score in scores)
        text = page.read_text(encoding="utf-8")
        assert "toy_worst (lower is better)" in text
        assert "p the shares of the votes: a toy" in text
    code, _, err = serann(
        "train", place / "fused", *quick, "--loss", "toy-los", "--best-by", "toy", "-o", tmp_path / "x"
    )
    assert code == 2
    assert "dirichlet-multinomial, toy-loss; is toy-loss meant?" in err
    assert "macro_f1, ccc, toy_worst" in err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "bert"}')
    code, _, err = serann("train", place / "fused", *quick, "--model", tmp_path / "other", "-o", tmp_path / "x")
    assert code == 2
    assert "whisper, toy-ears" in err


def test_a_reader_is_listed_has_its_page_and_imports(toys, serann, tmp_path):
    lines = tmp_path / "votes.txt"
    lines.write_text("a1 r1 calm\na1 r2 loud\nb1 r1 loud\n", encoding="utf-8")
    code, out, _ = serann("corpus", "readers")
    assert code == 0
    assert "a toy: lines of votes" in out
    code, out, _ = serann("corpus", "readers", "toy-lines")
    assert (code, out.strip()) == (0, "A toy's page.")
    code, _, err = serann("corpus", "import", "toy-lines", lines, "-o", tmp_path / "corpus")
    assert code == 0, err
    assert open_corpus(tmp_path / "corpus").votes["label"].to_pylist() == ["calm", "loud", "loud"]
    code, _, err = serann("corpus", "import", "toy-lines", lines, "--rule", "x", "-o", tmp_path / "other")
    assert code == 2
    assert "reader toy-lines takes no --rule" in err
    code, _, err = serann("corpus", "import", "toys", lines, "-o", tmp_path / "other")
    assert code == 2
    assert "hf, toy-lines" in err


def test_every_metric_says_what_it_is_and_where_from():
    assert len(METRICS) > 25
    for name, metric in METRICS.items():
        assert metric.name == name
        assert all((metric.about, metric.formula, metric.source, metric.title)), name
        assert metric.low < metric.high
        assert (metric.totals or metric.sums or metric.of in ("panel", "rating", "speaker")) or "balanced" in metric.at


def test_the_readme_names_what_the_registries_hold():
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    prose = re.sub(r"\s+", " ", text)
    for name in (*READERS, *CATEGORICAL, *(encoder.about.split(",")[0] for encoder in ENCODERS.values())):
        assert name in prose, name
    for registry, held in (("METRICS", METRICS), ("SECTIONS", SECTIONS), ("CATEGORICAL", CATEGORICAL)):
        assert f"`{registry}`" in text
        assert held
