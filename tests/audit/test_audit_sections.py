"""The audit's sections on CREMA-D's real panels: people who saw and heard, or only saw, against those who heard."""

import os
from pathlib import Path

import numpy as np
import pytest
from fixtures.present import present
from serann.annotator.audit import baselines, failures, panel_agreement, saturation, variants
from serann.annotator.audit.scorer import Scorer, build_reference
from serann.annotator.proxies import line_up
from serann.data.holdout import divide_votes, write_division
from serann.data.importing import import_corpus
from serann.data.readers import Options
from serann.data.scores.scoring import strata_thirds

pytestmark = [
    pytest.mark.corpora,
    pytest.mark.skipif(not os.environ.get("SERANN_CORPORA"), reason="SERANN_CORPORA names no folder of real corpora"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place, source = tmp_path_factory.mktemp("w"), Path(os.environ["SERANN_CORPORA"]) / "crema-d"
    voice, face, both = (
        import_corpus("crema-d", source, place / modality, options=Options(modality=modality), split="speaker")[0]
        for modality in ("voice", "face", "av")
    )
    voice = write_division(voice, divide_votes(voice, seen=3), None)
    whole = build_reference(voice)
    panels = line_up([both, face], voice, "audit", ids=whole.ids, m=whole.m)
    common = np.all([panel.covers for panel in panels], axis=0)
    ref = whole.part(common)
    scorer = Scorer([ref.redrawn(draw) for draw in range(5)], level=0.95)
    return voice, (both, face), scorer, [panel.part(common, ref.folds) for panel in panels]


def test_people_who_see_too_agree_with_listeners_and_those_who_only_see_less(world):
    _, sources, scorer, _ = world
    both, face = (panel_agreement.section(scorer, source, source.name) for source in sources)
    assert both.humans.coefficients["krippendorff_alpha"].value == pytest.approx(0.281, abs=0.005)
    assert both.normalised_kappa_x.value == pytest.approx(0.729, abs=0.01)
    assert face.normalised_kappa_x.value == pytest.approx(0.593, abs=0.01)
    assert face.normalised_kappa_x.high < both.normalised_kappa_x.low < both.normalised_kappa_x.high < 1


def test_all_of_the_fall_with_more_votes_is_averaging(world):
    _, _, scorer, panels = world
    for panel, limit in zip(panels, (0.220, 0.287), strict=True):
        found = saturation.section(scorer, panel)
        sq, bits = found.curves
        assert found.most_votes == 9
        assert present(sq.limit).value == pytest.approx(limit, abs=0.01)
        assert sq.shuffled_share.value == pytest.approx(1, abs=0.02)
        assert sq.fit.point == pytest.approx(4.07, abs=0.01)
        assert 4.5 < bits.fit.point < 6.5
        assert bits.shuffled_share.low > 0.6


def test_who_sees_knows_what_was_acted_better_than_a_listener_hears_it(world):
    voice, _, scorer, panels = world
    fitted = {
        "constant": scorer.each(baselines.constant),
        "thirds": scorer.each(lambda draw: strata_thirds(draw.other, draw.ids, draw.seed)),
    }
    for panel in panels:
        found = failures.section(scorer, panel, voice, **fitted)
        rows = {(row.factor, row.part): row for row in found.parts}
        # a happy face is seen and a happy voice hardly heard
        assert rows["intended", "happy"].difference.low > 0.3
        assert rows["intended", "neutral"].difference.high < -0.2
        assert rows["ambiguity", "high"].p_adjusted < 0.01
        gender = next(row for row in found.parts if row.factor == "gender")
        assert gender.p_adjusted > 0.05
        assert "level_happy" in found.left_out


def test_the_variants_are_each_on_their_own_scale(world):
    *_, scorer, panels = world
    rows = {row.metric: row.value for row in variants.variants(scorer, scorer.repeat(panels[0].q), own=panels[0].votes)}
    bits = rows["jsd_bits@4"]
    assert bits == pytest.approx(0.31, abs=0.02)
    assert rows["jsd_nats@4"] == pytest.approx(bits * np.log(2), abs=1e-9)
    assert rows["jsd_root@4"] > rows["jsd_nats@4"]
    assert rows["r2_by_class@4"] < 0 < rows["item_r2@4"]  # the two that papers call R2
    assert rows["ambiguity_bias"] == pytest.approx(-0.11, abs=0.03)
