"""Where the next human vote goes: the gain against simulation, the chances against drawing, and CREMA-D's clips."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from fixtures.simulated import simulated_corpus, simulated_run
from serann.annotator.cli import app
from serann.annotator.fusion import Blend, Evidence, blend_by, gather
from serann.annotator.fusion.next_votes import choose_next, corpus_shares, draw_sample, expected_gain, list_next
from serann.annotator.run.run import open_run
from serann.data.corpus import open_corpus
from serann.data.errors import CorpusError, OptionError, OutputError
from serann.data.labels import LabelSet
from serann.data.scores.groups import group_folds
from serann.data.scores.intervals import Interval, by_group
from serann.data.scores.proper_scores import sq_unbiased
from serann.data.vote_models.dirichlet_mixture import fit_dirichlet_mixture, fit_latent_mixture, softmax
from serann.data.votes import split_counts
from typer.testing import CliRunner

VOTES = "crema-d/processedResults/tabulatedVotes.csv"


def blend_of(p, effective) -> Blend:
    return Blend(p, effective, np.full(len(p), "test", dtype=object), "given", {})


def evidence_of(seen, train=None) -> Evidence:
    seen = np.asarray(seen, dtype=float)
    n = len(seen)
    return Evidence(
        ids=tuple(f"u{i:05d}" for i in range(n)),
        labels=LabelSet("abc", ("a", "b", "c")[: seen.shape[1]]),
        seen=seen,
        train=np.ones(n, dtype=bool) if train is None else train,
        speakers=np.array([f"s{i % 7}" for i in range(n)], dtype=object),
    )


def test_the_gain_is_the_fall_of_a_dirichlet_posteriors_variance():
    rng = np.random.default_rng(0)
    for alpha in (np.array([2.0, 1.0, 0.5]), np.array([0.3, 0.3, 5.0])):
        variance = lambda a: ((a / a.sum()) * (1 - a / a.sum())).sum() / (a.sum() + 1)  # noqa: E731
        after = sum(p * variance(alpha + np.eye(3)[y]) for y, p in enumerate(alpha / alpha.sum()))
        found = expected_gain((alpha / alpha.sum())[None], alpha.sum())[0]
        assert found == pytest.approx(variance(alpha) - after, abs=1e-12)
        # and, drawn: squared error of the posterior mean before and after one vote
        p = rng.dirichlet(alpha, 200_000)
        votes = (rng.random(len(p))[:, None] > p.cumsum(axis=1)).sum(axis=1)
        means = (alpha + np.eye(3)[votes]) / (alpha.sum() + 1)
        fall = ((p - alpha / alpha.sum()) ** 2).sum(axis=1) - ((p - means) ** 2).sum(axis=1)
        assert fall.mean() == pytest.approx(found, rel=0.05)


def test_more_votes_and_a_clearer_utterance_are_worth_less():
    p = np.array([[0.5, 0.5], [0.5, 0.5], [0.9, 0.1], [1.0, 0.0]])
    evidence = evidence_of([[1, 1], [4, 4], [2, 0], [2, 0]])
    found = choose_next(evidence, blend_of(p, evidence.seen.sum(axis=1) + 2.0), 4)
    assert found.strength == 2
    # (1 - .5) / 25, (1 - .5) / 121, (1 - .82) / 25, 0
    np.testing.assert_allclose(found.gain, [0.02, 0.5 / 121, 0.0072, 0.0])
    assert found.rows.tolist() == [0, 2, 1, 3]


def test_only_train_is_listed_and_a_bare_utterance_comes_first():
    p = np.array([[0.5, 0.5], [0.7, 0.3], [np.nan, np.nan], [0.5, 0.5], [0.9, 0.1]])
    seen = np.array([[1, 1], [2, 0], [0, 0], [0, 0], [2, 0]])
    evidence = evidence_of(seen, train=np.array([True, True, True, False, True]))
    effective = np.array([4.0, 4.0, np.nan, 2.0, 4.0])
    found = choose_next(evidence, blend_of(p, effective), 4, even=0.25)
    assert found.rows.tolist()[0] == 2  # nobody was asked: the mean of the others, and A = 2 alone
    np.testing.assert_allclose(found.p[2], [0.7, 0.3])
    assert found.gain[2] == pytest.approx((1 - 0.49 - 0.09) / 9)
    assert 3 not in found.rows
    assert np.isnan(found.gain[3])
    assert found.chance[3] == 0


def test_chances_are_what_they_say_and_sum_to_the_votes():
    gain, ids = np.linspace(1, 0, 40), [f"u{i}" for i in range(40)]
    times = np.zeros(40)
    for seed in range(2000):
        rows, chance = draw_sample(gain, 10, ids, even=0.3, seed=seed)
        assert len(set(rows.tolist())) == 10
        assert chance.sum() == pytest.approx(10)
        times[rows] += 1
    assert (times[:7] == 2000).all()
    np.testing.assert_allclose(times / 2000, chance, atol=0.03)  # 3 / 33 each: 3 standard errors are .02


def test_shares_stay_estimable():
    rng = np.random.default_rng(1)
    truth = rng.dirichlet([1.0, 0.5, 0.2], 400)
    p = 0.5 * truth + 0.5 * np.array([0.1, 0.1, 0.8])  # a biased model
    gain, ids = expected_gain(truth, 2.0), [f"u{i}" for i in range(400)]
    estimates, naive = [], []
    for seed in range(600):
        rows, chance = draw_sample(gain, 100, ids, even=0.3, seed=seed)
        votes = np.array([rng.multinomial(1, truth[i]) for i in rows])
        estimates.append(corpus_shares(p, rows, votes, chance))
        naive.append(votes.mean(axis=0))
    error = np.std(estimates, axis=0) / np.sqrt(600)
    assert (np.abs(np.mean(estimates, axis=0) - truth.mean(axis=0)) < 4 * error).all()
    assert np.abs(np.mean(naive, axis=0) - truth.mean(axis=0)).max() > 0.05


def test_the_order_of_rows_changes_nothing():
    rng = np.random.default_rng(2)
    gain, ids = rng.choice([0.1, 0.2], 50), [f"u{i}" for i in range(50)]
    order = rng.permutation(50)
    rows, _ = draw_sample(gain, 12, ids)
    others, _ = draw_sample(gain[order], 12, [ids[i] for i in order])
    assert [ids[i] for i in rows] == [ids[order[i]] for i in others]


def test_mistakes_are_told():
    evidence = evidence_of([[1, 1], [2, 0]])
    p = np.array([[0.5, 0.5], [0.8, 0.2]])
    with pytest.raises(OptionError, match="--next is 0; expected a number of votes, 1 or more"):
        choose_next(evidence, blend_of(p, np.full(2, 4.0)), 0)
    with pytest.raises(CorpusError, match="--next is 3, and the train split has 2 utterances"):
        choose_next(evidence, blend_of(p, np.full(2, 4.0)), 3)
    with pytest.raises(OptionError, match="this strategy does not know; use one that fuses human votes"):
        choose_next(evidence, blend_of(p, np.full(2, np.nan)), 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("next")
    corpus, truth = simulated_corpus(folder / "corpus", audio=True)
    simulated_run(folder / "run", corpus, truth)
    return folder


def test_the_list_is_csv_and_label_studio_tasks(place, tmp_path):
    corpus, run = open_corpus(place / "corpus"), open_run(place / "run")
    done = list_next(corpus, [run], 20, strategy="empirical-bayes", out=tmp_path / "next", seed=3)
    assert (done.utterances, done.path) == (20, tmp_path / "next")
    with (tmp_path / "next" / "next.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    split = dict(zip(corpus.ids, corpus.column("split"), strict=True))
    assert {split[row["utterance_id"]] for row in rows} == {"train"}
    assert all(float(row["weight"]) == pytest.approx(1 / float(row["chance"]), rel=1e-4) for row in rows)
    gains = [float(row["expected_gain"]) for row in rows]
    assert gains[:18] == sorted(gains[:18], reverse=True)
    tasks = json.loads((tmp_path / "next" / "tasks.json").read_text())
    assert [task["data"]["utterance_id"] for task in tasks] == [row["utterance_id"] for row in rows]
    assert all(task["predictions"] == [] and "intended" not in task["data"] for task in tasks)
    assert all(task["data"]["audio"].startswith("/data/local-files/?d=") for task in tasks)
    assert all(label in (tmp_path / "next" / "config.xml").read_text() for label in corpus.labels)
    about = json.loads((tmp_path / "next" / "next.json").read_text())
    # what the folder holds is enough to estimate the corpus's shares from the new votes
    p = np.array([[float(row[f"p_{label}"]) for label in corpus.labels] for row in rows])
    weight = np.array([float(row["weight"]) for row in rows])
    votes = np.eye(len(corpus.labels))[np.arange(20) % len(corpus.labels)]
    estimate = (list(about["sum_of_p"].values()) + weight @ (votes - p)) / about["candidates"]
    evidence = gather(corpus, [run], seed=3)
    found = choose_next(evidence, blend_by("empirical-bayes", evidence), 20)
    inside = np.flatnonzero(evidence.train)
    witness = corpus_shares(found.p[inside], np.searchsorted(inside, found.rows), votes, found.chance[inside])
    np.testing.assert_allclose(estimate, witness, atol=1e-3)
    assert (about["strategy"], about["candidates"]) == ("empirical-bayes", sum(s == "train" for s in split.values()))
    with pytest.raises(OutputError):
        list_next(corpus, [run], 20, strategy="empirical-bayes", out=tmp_path / "next")
    with pytest.raises(OutputError, match="holds the input"):
        list_next(corpus, [run], 20, strategy="empirical-bayes", out=corpus.path, overwrite=True)
    list_next(corpus, [], 5, strategy="human-mixture", out=tmp_path / "next", overwrite=True)
    assert len((tmp_path / "next" / "next.csv").read_text().splitlines()) == 6


def test_a_corpus_without_sounds_is_told_before_people_are_asked(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "corpus", utterances=40)
    done = list_next(corpus, [], 5, strategy="human-mixture", out=tmp_path / "next")
    assert "listed utterances that name no sound, so that Label Studio has none to play: 5" in done.warnings


def test_the_command_lists_and_fuses_nothing(place, tmp_path):
    words = ["fuse", str(place / "corpus"), str(place / "run"), "--next", "7", "-o", str(tmp_path / "next"), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["utterances"] == 7
    assert sorted(path.name for path in (tmp_path / "next").iterdir()) == [
        "config.xml",
        "next.csv",
        "next.json",
        "tasks.json",
    ]
    wrong = CliRunner().invoke(app, [*words[:3], "--next", "7", "--strategy", "dime-aug", "-o", str(tmp_path / "x")])
    assert wrong.exit_code != 0
    assert "--next needs a strategy that fuses" in str(wrong.exception) + wrong.output


def crema_votes(least: int = 9) -> tuple[dict[str, np.ndarray], list[str]]:
    """Votes [U, 6] of each of CREMA-D's panels on the clips with `least` voice votes or more, and the clips' names."""
    by_clip: dict[str, dict[str, list[int]]] = {}
    with (Path(os.environ["SERANN_CORPORA"]) / VOTES).open(newline="") as file:
        for row in csv.DictReader(file):
            by_clip.setdefault(row["fileName"], {})[row[""][0]] = [int(row[label]) for label in "ADFHNS"]
    clips = [clip for clip, votes in by_clip.items() if sum(votes["1"]) >= least]
    panels = {"voice": "1", "face": "2", "AV": "3"}
    return {name: np.array([by_clip[c][code] for c in clips], float) for name, code in panels.items()}, clips


def replay(panels, clips, proxy, ks: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fused p [U, K] of seen votes, one of `ks` of each clip (cross-fitted by speaker); S [U]; and by how much one more
    vote lowers `sq_unbiased` against four held-out votes [U], averaged over the clip's remaining votes.
    """
    held, rest = split_counts(panels["voice"], 4, clips, "held", seed)
    k = np.random.default_rng(seed).choice(ks, len(clips))
    halves = {n: split_counts(rest, n, clips, "seen", seed) for n in ks}
    seen, rest = (np.array([halves[n][side][i] for i, n in enumerate(k)]) for side in (0, 1))
    folds = group_folds([clip[:4] for clip in clips], seed=seed)
    p, fall, added = np.zeros(held.shape), np.zeros(len(clips)), np.zeros(len(clips))
    for fold in range(5):
        others, mine = folds != fold, folds == fold
        if proxy is None:
            people, extra = fit_dirichlet_mixture(seen[others]), 0.0
        else:
            latent = fit_latent_mixture(seen[others], panels[proxy][others], counts=True)
            people, extra = latent.people, latent.proxy_evidence(panels[proxy][mine])
        p[mine] = people.posterior_mean(seen[mine], extra)
        added[mine] = softmax(people.log_joint(seen[mine]) + extra) @ people.alpha.sum(axis=1)
        fall[mine] = sq_unbiased(p[mine], held[mine])
        for y in range(p.shape[1]):  # pyright: ignore[reportGeneralTypeIssues]
            chance = (rest[:, y] / rest.sum(axis=1))[mine]
            after = people.posterior_mean(seen[mine] + np.eye(p.shape[1])[y], extra)  # pyright: ignore[reportGeneralTypeIssues]
            fall[mine] -= chance * sq_unbiased(after, held[mine])
    return p, k + added.mean(), fall


def ratios(proxy, ks: tuple[int, ...], seeds: int, n: int = 500) -> tuple[dict[str, float], Interval]:
    """Mean gain of a chosen clip over that of any clip, for this choice and one by entropy, each drawn in the same way,
    and for the largest alone; and the difference of the former two, paired, with its interval by speaker.
    """
    panels, clips = crema_votes(max(9, 5 + max(ks)))
    found: dict[str, list[float]] = {"next": [], "entropy": [], "top": [], "top entropy": []}
    paired = np.zeros(len(clips))
    for seed in range(seeds):
        p, strength, fall = replay(panels, clips, proxy, ks, seed)
        scores = {"next": expected_gain(p, strength), "entropy": -(p * np.log(p)).sum(axis=1)}
        chance = {name: draw_sample(score, n, clips, seed=seed)[1] for name, score in scores.items()}
        for name, score in scores.items():
            found[name].append(chance[name] @ fall / n / fall.mean())
            rows, _ = draw_sample(score, n, clips, even=1 / n, seed=seed)
            found["top" if name == "next" else "top entropy"].append(fall[rows].mean() / fall.mean())
        paired += (chance["next"] - chance["entropy"]) * fall * len(clips) / n / fall.mean() / seeds
    means = {name: float(np.mean(values)) for name, values in found.items()}
    return means, by_group(paired, [clip[:4] for clip in clips])


@pytest.mark.corpora
@pytest.mark.skipif("SERANN_CORPORA" not in os.environ, reason="SERANN_CORPORA does not name the real corpora")
@pytest.mark.parametrize(("proxy", "ks"), [(None, (2,)), (None, (3,)), ("face", (2,)), ("AV", (3,)), (None, (2, 3, 5))])
def test_on_crema_d_the_choice_beats_chance_and_is_no_worse_than_entropy(proxy, ks):
    assert len(crema_votes()[1]) == 5903
    found, difference = ratios(proxy, ks, seeds=5)
    assert found["next"] >= 1.3
    assert difference.high > 0
