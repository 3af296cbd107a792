"""The embedded corpus is what its card says, and its generator makes the same plan and votes each time."""

import shutil
from collections import Counter, defaultdict

import numpy as np
import pytest
import soundfile
from make_demo import synthesis
from make_demo.make_corpus import main, make_corpus, truth_table
from make_demo.plan import HEARD, LABELS, PARTNERS, plan_corpus, split_speakers, voice_distribution
from make_demo.raters import cast_ratings, cast_votes, expected_votes, make_raters
from make_demo.sentences import sentences
from serann.data.corpus import DEMO_CORPUS, open_corpus
from serann.data.errors import OptionError, SerannError
from serann.data.files import hash_file
from serann.data.holdout import divide_votes
from serann.data.tables import DISTRIBUTIONS, distribution_array, read_table
from serann.data.votes import count_votes

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed on this machine"
)


@pytest.fixture(scope="module")
def corpus():
    return open_corpus("demo")


def agreement_by_rater(corpus):
    """Share of a rater's primary votes that the same utterance's other votes share, a rater."""
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels)
    place = {name: i for i, name in enumerate(corpus.ids)}
    shares = defaultdict(list)
    for row in corpus.votes.to_pylist():
        if row["rank"] == "primary":
            votes = counts[place[row["utterance_id"]]]
            shares[row["rater_id"]].append((votes[corpus.labels.index(row["label"])] - 1) / (votes.sum() - 1))
    return {rater: float(np.mean(values)) for rater, values in shares.items()}


def test_it_has_the_promised_size(corpus):
    assert len(corpus.ids) >= 420
    assert len(set(corpus.column("speaker"))) >= 24
    assert set(corpus.column("gender")) == {"female", "male"}
    files = [path for path in DEMO_CORPUS.rglob("*") if path.is_file()]
    assert len(files) > 420
    assert sum(path.stat().st_size for path in files) <= 5.5e6


def test_it_is_called_simulated_and_says_how_it_was_made(corpus):
    assert corpus.info.simulated
    assert corpus.info.licence == "CC0-1.0"
    assert corpus.info.provenance["simulated"] is True
    assert "eSpeak NG" in corpus.info.provenance["speech"]


def test_each_utterance_has_eight_primary_votes_of_eight_raters(corpus):
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels)
    assert (counts.sum(axis=1) == 8).all()
    primary = [row for row in corpus.votes.to_pylist() if row["rank"] == "primary"]
    raters = defaultdict(set)
    for row in primary:
        raters[row["utterance_id"]].add(row["rater_id"])
    assert {len(names) for names in raters.values()} == {8}
    secondary = count_votes(corpus.votes, corpus.ids, corpus.labels, rank="secondary")
    assert 0.1 < secondary.sum() / counts.sum() < 0.6


def test_its_speakers_are_disjoint_over_the_splits_and_every_class_is_in_each(corpus):
    splits = defaultdict(set)
    classes = defaultdict(Counter)
    for speaker, split, intended in zip(*map(corpus.column, ("speaker", "split", "intended")), strict=True):
        splits[split].add(speaker)
        classes[split][intended] += 1
    assert set(splits) == {"train", "development", "test"}
    assert sum(len(s) for s in splits.values()) == len(set(corpus.column("speaker")))
    for split in splits:
        assert set(classes[split]) == set(corpus.labels)
        assert classes[split].most_common(1)[0][0] == "neutral"
        assert len(set(corpus.column("gender")[corpus.in_split(split)])) == 2
    shares = {split: corpus.in_split(split).mean() for split in splits}
    assert shares == pytest.approx({"train": 0.60, "development": 0.15, "test": 0.25}, abs=0.03)


def test_its_sounds_are_short_mono_files_of_the_hash_in_the_table(corpus):
    for i in range(0, len(corpus.ids), 25):
        info = soundfile.info(corpus.audio_path(i))
        assert (info.samplerate, info.channels) == (16000, 1)
        assert info.duration == pytest.approx(corpus.utterances["duration"][i].as_py(), abs=0.01)
        assert hash_file(corpus.audio_path(i)) == corpus.utterances["content_hash"][i].as_py()
    durations = corpus.column("duration").astype(float)
    assert durations.min() > 0.5
    assert durations.max() < 3.2


def test_its_raters_agree_moderately_and_the_spammer_stands_out(corpus):
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels)
    # Krippendorff's alpha, nominal, by its formula: 1 - D_o / D_e over pairs of votes.
    observed = np.mean([1 - (c * (c - 1)).sum() / (8 * 7) for c in counts])
    totals = counts.sum(axis=0)
    expected = 1 - (totals * (totals - 1)).sum() / (totals.sum() * (totals.sum() - 1))
    assert 0.3 < 1 - observed / expected < 0.5
    shares = agreement_by_rater(corpus)
    assert len(shares) == 21
    worst, next_worst = sorted(shares, key=shares.__getitem__)[:2]
    kinds = {rater.rater_id: rater.kind for rater in make_raters(seed=1)}
    assert kinds[worst] == "spammer"
    assert shares[worst] < 0.6 * shares[next_worst]
    assert kinds[next_worst] == "careless"


def test_its_utterances_range_from_clear_to_ambiguous(corpus):
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels) / 8
    plurality = counts.max(axis=1)
    assert (plurality >= 0.85).mean() > 0.1
    assert (plurality <= 0.5).mean() > 0.2


def test_its_ratings_are_on_the_stated_scale_and_follow_the_emotions(corpus):
    assert corpus.ratings is not None
    assert corpus.info.scale == (1, 7)
    rows = corpus.ratings.to_pylist()
    assert len(rows) == 3 * 8 * len(corpus.ids)
    assert {row["value"] for row in rows} <= set(map(float, range(1, 8)))
    intended = dict(zip(corpus.ids, corpus.column("intended"), strict=True))
    means = defaultdict(list)
    for row in rows:
        means[row["dimension"], intended[row["utterance_id"]]].append(row["value"])
    mean = {key: np.mean(values) for key, values in means.items()}
    assert mean["valence", "happy"] > mean["valence", "neutral"] > mean["valence", "sad"]
    assert mean["arousal", "angry"] > mean["arousal", "neutral"] > mean["arousal", "sad"]
    assert mean["dominance", "angry"] > mean["dominance", "fear"]


def test_its_votes_are_divided_as_hold_out_divides_them(corpus):
    assert corpus.info.division is not None
    assert corpus.info.division.seen == 2
    assert divide_votes(corpus, seen=2, seed=0).division == corpus.info.division


def test_the_truth_lies_beside_it_and_not_in_its_utterances(corpus):
    truth = read_table(DEMO_CORPUS / "truth.parquet", DISTRIBUTIONS, labels=corpus.labels)
    assert truth["utterance_id"].to_pylist() == corpus.ids
    assert not {"p", "true_p", "mix"} & set(corpus.utterances.column_names)


def test_its_plan_and_votes_are_made_again_by_the_generator(corpus):
    plan = plan_corpus(utterances=480, voices=32, seed=1, sentences=sentences("corpus"))
    assert [u.utterance_id for u in plan] == corpus.ids
    assert [u.intended for u in plan] == list(corpus.column("intended"))
    assert [u.sentence.text for u in plan] == list(corpus.column("transcript"))
    raters = make_raters(seed=1)
    made = [row for utterance in plan for row in cast_votes(raters, utterance, seed=1)]
    key = ("utterance_id", "rater_id", "rank", "label")
    assert [tuple(row[k] for k in key) for row in made] == [
        tuple(row[k] for k in key) for row in corpus.votes.to_pylist()
    ]
    truth = read_table(DEMO_CORPUS / "truth.parquet", DISTRIBUTIONS, labels=corpus.labels)
    np.testing.assert_allclose(
        distribution_array(truth["p"]), distribution_array(truth_table(plan, seed=1)["p"]), atol=1e-12
    )


def test_votes_do_not_depend_on_the_order_in_which_they_are_cast():
    plan = plan_corpus(utterances=100, voices=8, seed=3, sentences=sentences("other"))
    raters = make_raters(seed=3)
    alone = cast_votes(raters, plan[50], seed=3)
    for utterance in reversed(plan):
        cast_ratings(raters, utterance, seed=3)
        last = cast_votes(raters, utterance, seed=3)
        if utterance is plan[50]:
            assert last == alone


def test_votes_follow_the_truth_they_are_drawn_from():
    plan = plan_corpus(utterances=800, voices=20, seed=4, sentences=sentences("corpus"))
    raters = make_raters(seed=4)
    drawn = Counter(row["label"] for u in plan for row in cast_votes(raters, u, seed=4) if row["rank"] == "primary")
    truth = np.mean([expected_votes(raters, u) for u in plan], axis=0)
    shares = np.array([drawn[label] for label in LABELS]) / (8 * len(plan))
    # 6,400 votes: the standard error of a share is at most .0063.
    np.testing.assert_allclose(shares, truth, atol=0.025)


def test_tables_of_the_simulation_are_distributions():
    np.testing.assert_allclose(HEARD.sum(axis=1), 1)
    assert all(sum(partners.values()) == pytest.approx(1) for partners in PARTNERS.values())
    # Half happy, half left to neutral: the mean of the two rows, by hand.
    assert voice_distribution({"happy": 0.5})[0] == pytest.approx((0.88 + 0.04) / 2)


def test_speakers_are_split_with_both_genders_everywhere():
    for voices in (8, 33, 60):
        splits = split_speakers(voices, seed=5)
        assert len(splits) == voices
        for split in ("train", "development", "test"):
            odd = {i % 2 for i, name in enumerate(splits) if name == split}
            assert odd == {0, 1} or splits.count(split) == 1


def test_voices_and_emotions_move_the_voice_variant():
    voice = synthesis.make_voice(1, seed=6)
    assert voice == synthesis.make_voice(1, seed=6)
    calm = synthesis.variant_text(voice, synthesis.realise(voice, {}, seed=0))
    happy = synthesis.variant_text(voice, synthesis.realise(voice, {"happy": 1.0}, seed=0))
    pitch = [[int(hz) for hz in text.split("pitch ")[1].split("\n")[0].split()] for text in (calm, happy)]
    assert sum(pitch[1]) > 1.2 * sum(pitch[0])
    assert pitch[1][1] / pitch[1][0] > pitch[0][1] / pitch[0][0]
    half = synthesis.emotion_vector({"happy": 0.5, "sad": 0.5})
    whole = synthesis.emotion_vector({"happy": 1.0}) + synthesis.emotion_vector({"sad": 1.0})
    np.testing.assert_allclose(half, whole / 2)


def test_a_rising_contour_is_marked_word_by_word():
    assert synthesis.contour_text("a b c d", 0.0) == "a b c d"
    # 12 semitones over the last two of four words: 6 semitones (41 %), then 12 (100 %).
    assert synthesis.contour_text("a b c d", 12.0) == (
        'a b <prosody pitch="+41%">c</prosody> <prosody pitch="+100%">d</prosody>'
    )


def test_without_espeak_the_error_says_how_to_get_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(SerannError, match=r"espeak-ng was not found.*apt install espeak-ng"):
        synthesis.find_espeak()
    assert main(["-o", str(tmp_path / "corpus")]) == 2
    assert "apt install espeak-ng" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_corpus_with_too_few_voices_is_refused(tmp_path):
    with pytest.raises(OptionError, match="20 utterances of 3 voices; expected at least 6 voices"):
        make_corpus(tmp_path / "corpus", utterances=20, voices=3)


@needs_espeak
def test_the_same_utterance_is_spoken_the_same_twice(corpus):
    from make_demo.make_corpus import speak

    plan = plan_corpus(utterances=480, voices=32, seed=1, sentences=sentences("corpus"))
    with synthesis.synthesiser() as engine:
        first, again = (speak(engine, plan[7], seed=1) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    assert len(first) <= 3.1 * synthesis.SAMPLE_RATE


@needs_espeak
def test_a_small_corpus_is_made_and_reads_back(tmp_path):
    made = make_corpus(
        tmp_path / "small", utterances=60, voices=6, seed=9, sentence_set="other", workers=1, name="small"
    )
    assert made.name == "small"
    assert len(made.ids) == 60
    assert made.audio_path(0).is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small"]
