"""The report: one offline file, well-formed, escaped, its sounds inside, its pictures named, its figures right."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from fixtures.pages import html
from fixtures.present import present
from fixtures.simulated import biased, simulated_corpus, simulated_run
from serann.annotator.audit import audit
from serann.annotator.report.audit_pictures import ambiguity_by_thirds
from serann.annotator.report.audit_sections import SOUNDS
from serann.annotator.report.audit_words import answers
from serann.annotator.report.figures import figure
from serann.annotator.report.files import document, write_report
from serann.annotator.report.sounds import player
from serann.annotator.report.svg import nice_ticks, spread_labels, tag
from serann.annotator.run.run import open_run
from serann.data.corpus import open_corpus
from serann.data.errors import OptionError
from serann.data.tables import UTTERANCES, write_table


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("report")
    corpus, truth = simulated_corpus(place / "corpus", utterances=150, speakers=10, audio=True)
    runs = [simulated_run(place / "mild", corpus, truth), simulated_run(place / "bent", corpus, biased(truth))]
    result = audit(corpus, [open_run(run) for run in runs])
    write_report(result, place / "report.html", corpus)
    return corpus, result, place / "report.html"


class Elements(HTMLParser):
    """Counts elements and checks that they close in order."""

    void = frozenset({"meta", "br", "link", "img"})

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.seen, self.links = [], {}, []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_network(made):
    page = made[2].read_text()
    elements = Elements(page)
    assert elements.open == []
    # ten of the audit, and one for each of two panels
    assert elements.seen["section"] == 10 + 2
    assert elements.links
    assert all(link.startswith("data:audio/") for link in elements.links)
    assert not re.search(r"https?://|@import|url\(|<script|<link", page)


def test_every_picture_is_well_formed_and_has_a_title_and_a_description(made):
    pictures = re.findall(r"<svg.*?</svg>", made[2].read_text(), flags=re.S)
    # two curves, thirds, two scatters, three heat maps, worth twice, saturation twice for each of two runs, and the
    # cards: 4 least and 4 most for each of them
    assert len(pictures) == 8 + 2 + 4 + 16
    for text in pictures:
        root = ElementTree.fromstring(text)
        assert root.findtext("title")
        assert root.find("desc") is not None
        assert root.get("role") == "img"
        assert "nan" not in text


def test_a_simulated_corpus_says_so(made):
    page = made[2].read_text()
    assert 'class="banner"' in page
    assert "Simulated corpus" in page
    assert "no person listened" in page


def test_the_headline_figures_are_those_of_the_result_and_of_the_json(made):
    _, result, path = made
    page, saved = path.read_text(), json.loads(path.with_suffix(".json").read_text())
    for panel in result.panels:
        row = result.system("panel", panel.name).score("sq_unbiased")
        assert f"<td>{figure(row.value)}<small>{figure(row.value, row.low, row.high).split(' ', 1)[1]}</small>" in page
    assert saved == document(result)
    table = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    own = {(r["panel"], r["metric"]): r["value"] for r in table if r["part"] == "kind=panel"}
    assert own["bent", "sq_unbiased"] == result.system("panel", "bent").score("sq_unbiased").value
    assert pq.read_metadata(path.with_suffix(".utterances.parquet")).num_rows == 3 * 150
    for answer in answers(result):
        assert answer.replace("'", "&#39;") in page


def test_a_small_sound_is_embedded_as_it_is(made):
    corpus, _, path = made
    players = re.findall(r'aria-label="Utterance (\w+)" src="data:audio/wav;base64,([^"]+)"', path.read_text())
    assert len(players) == 16 + 2 * SOUNDS
    for name, data in players:
        assert base64.b64decode(data) == corpus.audio_path(corpus.ids.index(name)).read_bytes()


def test_a_part_of_a_recording_is_cut_and_encoded(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "c", utterances=4, speakers=4, audio=True)
    time = np.arange(20 * 16000) / 16000
    soundfile.write(corpus.path / "audio" / "long.wav", 0.2 * np.sin(2 * np.pi * 220 * time), 16000)
    rows = corpus.utterances.to_pylist()
    rows[0].update(audio="audio/long.wav", start=2.0, end=4.5)
    rows[1].update(audio="audio/long.wav")
    rows[2].update(audio="audio/absent.wav")
    rows[3].update(audio=None)
    table = corpus.utterances.from_pylist(rows, schema=corpus.utterances.schema)
    write_table(table, corpus.path / "utterances.parquet", UTTERANCES, labels=corpus.labels)
    corpus = open_corpus(corpus.path)
    for row, seconds in ((0, 2.5), (1, 12.0)):
        media, data = present(re.search(r'src="data:([^;]+);base64,([^"]+)"', html(player(corpus, row)))).groups()
        assert media == "audio/ogg"
        (tmp_path / "out.ogg").write_bytes(base64.b64decode(data))
        assert soundfile.info(tmp_path / "out.ogg").duration == pytest.approx(seconds, abs=0.01)
    soundfile.write(corpus.path / "audio" / "long.wav", np.zeros(45 * 16000), 16000)  # more than a model hears
    assert html(player(corpus, 1)).startswith("<audio controls")
    for row in (2, 3):
        assert html(player(corpus, row)).startswith('<p class="silent">No sound: ')


def test_the_size_without_sounds_stays_small(made):
    page = re.sub(r"base64,[^\"]+", "", made[2].read_text())
    assert len(page) < 600_000


def test_what_corpora_write_is_escaped(tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "c", utterances=40, speakers=4, name="<b>odd & 'corpus'")
    result = audit(corpus, [open_run(simulated_run(tmp_path / "a<i>b", corpus, truth))], draws=2)
    page = write_report(result, tmp_path / "r.html", corpus).read_text()
    assert "<b>odd" not in page
    assert "a<i>b" not in page
    assert Elements(page).open == []


def test_a_corpus_with_little_still_gives_a_report(tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "c", utterances=12, speakers=1, votes=3, seen=1)
    result = audit(corpus, [open_run(simulated_run(tmp_path / "r", corpus, truth))], draws=2)
    page = write_report(result, tmp_path / "r.html", corpus).read_text()
    assert "one speaker" in page
    assert not re.search(r"\bnan\b", re.sub(r"base64,[^\"]+", "", page), flags=re.I)


def test_a_corpus_without_sounds_says_so_once(tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "c", utterances=24, speakers=4)
    result = audit(corpus, [open_run(simulated_run(tmp_path / "r", corpus, truth))], draws=1)
    page = write_report(result, tmp_path / "r.html", corpus).read_text()
    assert page.count("The corpus names no sounds, so they can only be read.") == 1
    assert "No sound:" not in page
    assert "<audio" not in page


def test_a_report_is_html(made, tmp_path):
    with pytest.raises(OptionError, match=r"report\.pdf does not end in \.html"):
        write_report(made[1], tmp_path / "report.pdf", made[0])
    assert list(tmp_path.iterdir()) == []


def test_names_of_thirds_keep_apart_where_the_points_are_close(made):
    result = made[1]
    near = [
        replace(s, human_ambiguity=s.human_ambiguity._replace(value=0.5 + 0.01 * i))
        for i, s in enumerate(result.panels[0].strata)
    ]
    close = replace(result, panels=[replace(panel, strata=near) for panel in result.panels])
    root = ElementTree.fromstring(ambiguity_by_thirds(close))
    at = {t.text: float(t.attrib["x"]) for t in root.iter("text") if t.text in ("low", "medium", "high")}
    assert list(at) == ["low", "medium", "high"]
    assert min(np.diff(list(at.values()))) >= 50


def test_figures_in_words():
    assert figure(-0.1234, -0.2, -0.05) == "−0.123 [−0.200, −0.050]"
    assert figure(float("nan")) == "–"
    assert figure(float("-inf"), float("nan"), float("nan")) == "−∞"
    assert figure(0.5, float("nan"), 1.0) == "0.500"


def test_pieces_of_svg():
    assert nice_ticks(0, 0.53) == [0, 0.2, 0.4, 0.6]
    assert nice_ticks(-0.01, 0.3)[0] <= -0.01
    assert nice_ticks(1, 1) == [1, 1.2, 1.4, 1.6, 1.8, 2]
    assert spread_labels([10, 12, 50]) == [4, 18, 50]
    assert tag("text", "x", cls="tick", x=1.50, fill=None) == '<text class="tick" x="1.5">x</text>'
    crowded = spread_labels([20.0] * 5, top=0, bottom=100)
    assert np.diff(crowded) == pytest.approx([14] * 4)
