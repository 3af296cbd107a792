"""DiME-Aug as published: counts, neighbours and mixtures by hand, features against librosa's own calls, bad input."""

import librosa
import numpy as np
import pyarrow as pa
import pytest
import soundfile
from fixtures.simulated import simulated_corpus, simulated_run
from fixtures.tones import VOTES_OF, tone_corpus
from serann.annotator.fusion import fuse
from serann.annotator.fusion.dime import paper
from serann.annotator.fusion.dime.paper import audio_features, standardise, text_features
from serann.annotator.fusion.dime.plan import NewUtterance, load_librosa, mix_distributions, mix_sounds
from serann.annotator.fusion.dime.sounds import new_sound
from serann.annotator.run.run import open_run
from serann.data.audio import utterance_audio
from serann.data.corpus import Corpus, open_corpus
from serann.data.errors import OptionError, OutputError
from serann.data.fused import open_fused


def naive_features(corpus: Corpus, i: int) -> np.ndarray:
    """The 72 statistics with librosa called once a feature, and the ten counts."""
    y = utterance_audio(corpus, i)
    y = np.pad(y, (0, max(0, 8000 - len(y))))
    f = librosa.feature
    tracks = [
        f.mfcc(y=y, sr=16000, n_mfcc=13),
        f.chroma_stft(y=y, sr=16000),
        f.spectral_contrast(y=y, sr=16000),
        f.zero_crossing_rate(y),
        f.spectral_rolloff(y=y, sr=16000),
        f.spectral_centroid(y=y, sr=16000),
        f.rms(y=y),
    ]
    stacked = np.vstack(tracks)
    return np.concatenate(
        [stacked.mean(axis=1), stacked.std(axis=1), text_features(corpus.utterances["transcript"][i].as_py())]
    )


def test_class_sizes_grow_to_a_share_of_the_largest():
    # floor(.3 * 10) = 3; floor(.29 * 100) = 29, though in binary the product is 28.999…
    assert paper.new_counts(np.array([10, 1, 3, 4]), 0.3).tolist() == [0, 2, 0, 0]
    assert paper.new_counts(np.array([100, 0, 20]), 0.29).tolist() == [0, 29, 9]
    assert paper.new_counts(np.array([10, 4]), 1.0).tolist() == [0, 6]
    assert paper.new_counts(np.array([0, 0]), 0.5).tolist() == [0, 0]


def test_the_query_is_one_of_its_own_three_neighbours():
    points = np.array([[0.0], [1.0], [3.0], [3.5], [9.0]])
    near = paper.nearest(points, [0, 2, 4], k=3)
    # of 0: 0, 1, 3 -> two others; of 3: 3, 3.5, 1; of 9: 9, 3.5, 3
    assert {q: n.tolist() for q, n in near.items()} == {0: [1, 2], 2: [3, 1], 4: [3, 2]}
    near = paper.nearest(points, [0, 4], k=3, true_neighbours=True)
    assert {q: n.tolist() for q, n in near.items()} == {0: [1, 2, 3], 4: [3, 2, 1]}
    assert paper.nearest(points[:2], [1], k=3)[1].tolist() == [0]


def test_mixtures_by_hand():
    mixed = mix_sounds(np.array([0.2, 0.4, 0.6]), np.array([0.6, 0.0]), 0.25)
    np.testing.assert_allclose(mixed, [0.3, 0.3], atol=1e-12)  # .2 + .25 * .4, .4 - .25 * .4, cut to two samples
    pair = {4: np.array([0.1, -0.2, 0.3]), 7: np.array([0.5, 0.2])}
    item = NewUtterance("n", 0, 4, 7, 0.75, 0)
    np.testing.assert_allclose(
        new_sound(item, pair.__getitem__), [0.4, 0.1], atol=1e-6
    )  # .1 + .75 * .4, -.2 + .75 * .4
    loud = mix_sounds(np.array([2.0, -1.0]), np.array([2.0, -1.0]), 0.5)
    np.testing.assert_allclose(loud, [0.999, -0.4995])
    p = mix_distributions(np.array([[0.8, 0.2]]), np.array([[0.4, 0.6]]), np.array([0.25]))
    np.testing.assert_allclose(p, [[0.7, 0.3]], atol=1e-12)


def test_lexical_counts_by_hand():
    # 9 characters, 2 words, one '!' and one '?'; vowels e, A; consonants H, y, n, n; words of 3 and 5
    assert text_features("Hey Ann!?").tolist() == [9, 2, 1, 1, 0, 0, 2 / 9, 4 / 9, 4.0, 2 / 9]
    assert text_features(None).tolist() == [0.0] * 10


@pytest.mark.filterwarnings("ignore:Trying to estimate tuning")
def test_audio_features_are_librosas(tmp_path):
    corpus = tone_corpus(tmp_path / "corpus")
    for i in (0, 11):
        features = audio_features(utterance_audio(corpus, i), librosa)
        assert features.shape == (72,)
        np.testing.assert_allclose(features, naive_features(corpus, i)[:72], rtol=1e-3, atol=1e-3)


def test_a_constant_feature_is_standardised_to_zero():
    np.testing.assert_allclose(standardise(np.array([[1.0, 5.0], [3.0, 5.0]])), [[-1, 0], [1, 0]])


@pytest.mark.filterwarnings("ignore:Trying to estimate tuning")
def test_the_published_procedure_step_by_step(tmp_path):
    """Every new utterance of a small corpus against a naive walk through the published steps."""
    corpus = tone_corpus(tmp_path / "corpus")
    fused = fuse(corpus, strategy="dime-aug", dime="paper", blend="human", rho=0.7, out=tmp_path / "fused", seed=4)
    new = [row for row in fused.corpus.utterances.to_pylist() if row["parents"] is not None]
    assert len(new) == 4  # floor(.7 * 10) - 3
    row_of = {name: i for i, name in enumerate(fused.corpus.ids)}
    members = ["b0", "b1", "b2"]
    features = standardise(np.array([naive_features(corpus, corpus.ids.index(m)) for m in members]))
    distances = ((features[:, None] - features[None]) ** 2).sum(axis=2)
    p_of = {"b0": [0, 1], "b1": [1 / 3, 2 / 3], "b2": [0, 1]}
    for row in new:
        i, j = (members.index(parent) for parent in row["parents"])
        assert j in np.argsort(distances[i])[1:3]
        alpha = row["alpha"]
        a, b = (utterance_audio(corpus, corpus.ids.index(parent)) for parent in row["parents"])
        length = min(len(a), len(b))
        sound, rate = soundfile.read(fused.corpus.audio_path(row_of[row["utterance_id"]]))
        assert rate == 16000
        np.testing.assert_allclose(sound, a[:length] + alpha * (b[:length] - a[:length]), atol=1 / 32768)
        first, second = (np.array(p_of[parent]) for parent in row["parents"])
        np.testing.assert_allclose(
            fused.distributions[row_of[row["utterance_id"]]], first + alpha * (second - first), atol=1e-12
        )
        parent = row["parents"][alpha >= 0.5]
        assert row["transcript"] == (None if parent == "b2" else f"Words of {parent}!")
        assert (row["split"], row["speaker"]) == ("train", f"s-{row['parents'][0]}")
        assert row["gender"] == ("female" if "b2" not in row["parents"] else None)
        assert row["duration"] == pytest.approx(length / 16000)
    assert len({row["seed"] for row in new}) == 4
    assert fused.info.shares["augmented_dominant"] == pytest.approx({"a": 10 / 17, "b": 7 / 17})
    assert fused.info.counts["new"] == 4
    assert all(source == "dime-aug" for source in fused.source[-4:])


def test_only_train_grows_and_only_train_is_used(tmp_path):
    corpus = tone_corpus(tmp_path / "corpus")
    fused = fuse(corpus, strategy="dime-aug", dime="paper", blend="human", rho=1.0, out=tmp_path / "fused")
    new = [row for row in fused.corpus.utterances.to_pylist() if row["parents"]]
    assert {parent for row in new for parent in row["parents"]} <= {"b0", "b1", "b2"}
    assert {row["split"] for row in new} == {"train"}
    assert fused.corpus.votes.num_rows == corpus.votes.num_rows  # nobody voted on what nobody heard


def test_the_order_of_rows_changes_nothing(tmp_path):
    fused = [
        fuse(
            tone_corpus(tmp_path / f"corpus{reverse}", reverse=reverse),
            strategy="dime-aug",
            dime="paper",
            blend="human",
            rho=0.7,
            out=tmp_path / f"fused{reverse}",
        )
        for reverse in (False, True)
    ]
    pedigrees = [
        [
            (r["utterance_id"], r["parents"], r["alpha"], r["seed"], r["content_hash"])
            for r in f.corpus.utterances.to_pylist()
            if r["parents"]
        ]
        for f in fused
    ]
    assert pedigrees[0] == pedigrees[1]
    assert (
        fuse(
            open_corpus(tmp_path / "corpusFalse"),
            strategy="dime-aug",
            dime="paper",
            blend="human",
            rho=0.7,
            out=tmp_path / "other",
            seed=1,
        ).fingerprint
        != fused[0].fingerprint
    )


def test_a_class_of_one_is_a_warning(tmp_path):
    votes = {name: vote for name, vote in VOTES_OF.items() if name not in ("b1", "b2")}
    fused = fuse(
        tone_corpus(tmp_path / "corpus", votes_of=votes),
        strategy="dime-aug",
        dime="paper",
        blend="human",
        rho=0.5,
        out=tmp_path / "fused",
    )
    assert fused.info.counts["new"] == 0
    assert (
        "'b' was to grow by 4, and none was made: an utterance needs a neighbour of its class"
        in fused.info.warnings[-1]
    )


def test_a_parent_without_sound_is_left_out_and_listed(tmp_path):
    corpus = tone_corpus(tmp_path / "corpus")
    (corpus.path / "audio" / "b1.wav").unlink()
    fused = fuse(corpus, strategy="dime-aug", dime="paper", blend="human", rho=0.5, out=tmp_path / "fused")
    assert [failure["utterance_id"] for failure in fused.info.failures] == ["b1"]
    assert "b1.wav is missing" in fused.info.failures[0]["reason"]
    new = [row for row in fused.corpus.utterances.to_pylist() if row["parents"]]
    assert len(new) == 2  # the class still counts three
    assert all("b1" not in row["parents"] for row in new)


def test_a_disk_that_fills_while_sounds_are_written_is_one_sentence(tmp_path):
    import resource

    corpus, limits = tone_corpus(tmp_path / "corpus"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with pytest.raises(OutputError, match="fused cannot be written: File too large"):
            fuse(corpus, strategy="dime-aug", dime="paper", blend="human", rho=0.5, out=tmp_path / "fused")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_an_augmented_corpus_is_not_fused_again(tmp_path):
    fused = fuse(
        tone_corpus(tmp_path / "corpus"),
        strategy="dime-aug",
        dime="paper",
        blend="human",
        rho=0.5,
        out=tmp_path / "fused",
    )
    with pytest.raises(
        OptionError, match="holds 2 augmented utterances already; fuse the corpus that it was made from"
    ):
        fuse(fused.corpus, strategy="human", out=tmp_path / "again")


@pytest.mark.parametrize("rho", [0, -0.5, 1.01, float("nan")])
def test_rho_outside_its_range_is_refused(tmp_path, rho):
    with pytest.raises(
        OptionError, match=r"expected a share of the largest class, above 0 and at most 1 \(--rho 0.3\)"
    ):
        paper.check_options(rho=rho, neighbours=3, true_neighbours=False)


def test_too_few_neighbours_are_refused():
    with pytest.raises(OptionError, match="neighbours is 1; expected 2 or more, for the published procedure counts"):
        paper.check_options(rho=0.3, neighbours=1, true_neighbours=False)
    paper.check_options(rho=0.3, neighbours=1, true_neighbours=True)


def test_without_librosa_the_install_line_is_given(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "librosa", None)
    with pytest.raises(OptionError, match=r"needs librosa .* run: pip install 'serann\[augment\]'"):
        load_librosa()


def test_after_empirical_bayes_the_smaller_classes_grow(tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "corpus", audio=True)
    run = open_run(simulated_run(tmp_path / "run", corpus, truth))
    seen = []
    fused = fuse(
        corpus,
        [run],
        strategy="dime-aug",
        dime="paper",
        blend="empirical-bayes",
        rho=0.5,
        out=tmp_path / "fused",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert fused.info.blend == "empirical-bayes"
    assert fused.info.parameters["blend"]["all_train_speakers"]["strength"] > 0
    before, after = fused.info.shares["dominant"], fused.info.shares["augmented_dominant"]
    assert min(after[label] for label in ("neutral", "happy", "angry", "sad")) > min(before.values())
    np.testing.assert_allclose(fused.distributions[fused.defined].sum(axis=1), 1)
    assert seen[0][0] == 1
    assert all(done <= total for done, total in seen)
    assert isinstance(fused.corpus.utterances.schema.field("parents").type, pa.ListType)
    assert open_fused(fused.path).fingerprint == fused.fingerprint
