"""The report's methods section: the exact variant of every number, and where it comes from."""

from __future__ import annotations

from html import escape

from ..audit.effective_votes import REFITTED_ON
from ..audit.result import AuditResult
from .audit_words import calibration_in_words
from .figures import count, mass_figure

REFERENCES = (
    "Brier (1950), Verification of forecasts expressed in terms of probability, Monthly Weather Review 78.",
    "Gneiting & Raftery (2007), Strictly proper scoring rules, prediction, and estimation, JASA 102.",
    "Lin (1991), Divergence measures based on the Shannon entropy, IEEE Trans. Information Theory 37.",
    "Bhattacharyya (1943), On a measure of divergence between two statistical populations, Bull. Calcutta Math. "
    "Soc. 35.",
    "Minka (2000), Estimating a Dirichlet distribution, technical report, MIT.",
    "Holmes, Harris & Quince (2012), Dirichlet multinomial mixtures, PLoS ONE 7.",
    "Fritsch & Carlson (1980), Monotone piecewise cubic interpolation, SIAM J. Numer. Anal. 17.",
    "Fieller (1954), Some problems in interval estimation, J. R. Stat. Soc. B 16.",
    "Schuirmann (1987), A comparison of the two one-sided tests procedure, J. Pharmacokin. Biopharm. 15.",
    "Kish (1965), Survey sampling, Wiley (effective number).",
    "Tukey (1958), Bias and confidence in not-quite large samples, Ann. Math. Stat. 29 (the jackknife).",
    "Holm (1979), A simple sequentially rejective multiple test procedure, Scand. J. Stat. 6.",
    "Krippendorff (2011), Computing Krippendorff's alpha-reliability, University of Pennsylvania.",
    "Gwet (2008), Computing inter-rater reliability and its variance in the presence of high agreement, Br. J. Math. "
    "Stat. Psychol. 61.",
    "Fleiss (1971), Measuring nominal scale agreement among many raters, Psychol. Bull. 76.",
    "Wong, Paritosh & Aroyo (2021), Cross-replication reliability, ACL.",
    "Calderon, Reichart & Dror (2025), The alternative annotator test, ACL, arXiv 2501.10970.",
    "Benjamini & Yekutieli (2001), The control of the false discovery rate under dependency, Ann. Stat. 29.",
    "Guo, Pleiss, Sun & Weinberger (2017), On calibration of modern neural networks, ICML.",
    "Efron & Tibshirani (1993), An introduction to the bootstrap, Chapman & Hall.",
    "Hesterberg (2015), What teachers should know about the bootstrap, The American Statistician 69.",
)


def methods(result: AuditResult) -> str:
    """The section as HTML."""
    paragraphs = [
        _reference(result),
        _scores(result),
        _baselines(result),
        _worth(result),
        _strata(),
        _failures(),
        _listening(result),
        _intervals(result),
        _panels(result),
        _files(),
    ]
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs if paragraph)
    references = "".join(f"<li>{escape(reference)}</li>" for reference in REFERENCES)
    return f'<section class="methods"><h2>Methods</h2>{body}<h3>References</h3><ul>{references}</ul></section>\n'


def _reference(result: AuditResult) -> str:
    m, seed, draws = (result.settings[name] for name in ("votes_scored", "seed", "draws"))
    return (
        f"<b>Reference.</b> Of each utterance's held-out human votes, {m} are drawn (by seed {seed} and the "
        "utterance's id) and scored; primary votes only. All others, held out or seen, serve strata, baselines "
        f"and the human curve. This is done {count(draws, 'time')}, with new draws and everything fitted anew, and "
        "every figure is the mean: which votes happen to be scored would move it else. Within a draw nothing that is "
        "scored for an utterance is used to cut or to predict there. Utterances with fewer held-out votes are left "
        "out, and every prediction meets the same utterances and votes."
    )


def _scores(result: AuditResult) -> str:
    m = result.settings["votes_scored"]
    return (
        f"<b>Scores.</b> q is a prediction, h the counts of the m = {m} votes. <i>Squared error</i> (sq_unbiased): "
        "Σq² − 2 Σ q h/m + Σ h(h−1)/(m(m−1)), unbiased for the squared distance to the distribution behind the "
        "votes, so that distribution scores 0 whatever m. <i>Log score</i>: mean natural logarithm of the "
        "probability given to each vote; minus infinity is reported where a vote's label was given none. Both are "
        f"proper: nothing scores better in expectation than the true distribution. <i>JSD @{m}</i>: Jensen-Shannon "
        f"divergence to the votes' frequencies, base 2, no root, no smoothing. <i>Bhattacharyya @{m}</i>: Σ√(q "
        f"h/m). <i>Total variation @{m}</i>: ½ Σ|q − h/m|. These three are not proper at few votes and never "
        "comparable between different m. <i>Accuracy, UAR, macro-F1</i>: of the most-voted label; ties split "
        "credit; the class set is that of the full reference, kept in every part; F1 is 0 for a class never hit."
    )


def _baselines(result: AuditResult) -> str:
    folds, of = result.settings["folds"], result.settings["folds_of"]
    own = "speaker" if of == "speakers" else "fold"
    note = result.system("constant").note or ""
    return (
        f"<b>Baselines.</b> All fitted in {folds} folds of {of}, never on an utterance's own {own}. "
        f"<i>Constant</i>: {escape(note)} (with half a vote added to each label). <i>Percent of the gap</i>: 100 "
        "(constant − panel) / constant, of squared errors. <i>n human votes, raw</i>: frequencies of n of the "
        "votes that are not scored. <i>Smoothed</i>: their expectation under a mixture of Dirichlets fitted to all "
        "human votes of the other folds, the best use of them without a panel. <i>Perfect prediction</i>: "
        "distributions drawn from that mixture's posterior given the votes that are not scored, scored against votes "
        "drawn from them; the floor that sampling noise sets. <i>Shuffled</i>: the panel's rows dealt to other "
        "utterances. How many votes a panel matches as it is, is read off the smoothed curve, up to its first point "
        "that the panel does not reach, and is 0 for a panel worse than the constant. "
        "The raw curve is no measure: frequencies of a vote or two may be worse than a constant."
    )


def _worth(result: AuditResult) -> str:
    fitted = max(panel.effective_votes.fitted_on for panel in result.panels)
    used = "; ".join(
        f"{escape(panel.name)}: {escape(calibration_in_words(panel.effective_votes.calibration))}"
        for panel in result.panels
    )
    share = 100 * result.panels[0].non_inferiority.margin_share
    many = result.reference["utterances"] > REFITTED_ON
    few = f" (to {REFITTED_ON:,} utterances, so that it is rather too wide)" if many else ""
    return (
        "<b>Worth in human votes.</b> The n at which the smoothed curve has the panel's score, both on the same "
        "scored votes and utterances; between whole n by monotone cubics. For this alone panels are calibrated, "
        f"without any human vote of the utterance, on the votes of other folds ({count(fitted, 'utterance')}), by the "
        "curve's own model told by the panel, unless confusion map, temperature and class bias have the better log "
        f"score on votes that are not scored, with 95 % confidence over speakers ({used}). The interval holds every n "
        "whose score is not told from the panel's, by a jackknife over speakers (from 60 on over groups of them) "
        "in which whatever is fitted is fitted anew without those left out, begun at the fits to all"
        f"{few}; beyond the curve's end it says at least. "
        "Ambiguity thirds are cut here by votes that are neither scored nor on the curve, which is shorter there. "
        "<i>One synthetic vote</i>, taken as a person's, is compared with one more human vote by "
        "the log score of the mixture's expectation after that single vote, expected over the panel's distribution; "
        f"it is not inferior if the interval of the difference stays above −{share:.0f} % of what a human vote adds to"
        " the constant, and equivalent if it stays within that both ways. Linear in the panel's distribution, this "
        "licenses single votes, never their spread. <i>Independent listeners</i>: n/(1 + (n−1)ρ), ρ the correlation "
        "of listeners' errors about people's distribution, without the votes' noise; listeners that differ in "
        "temperature alone are one."
    )


def _strata() -> str:
    return (
        "<b>Ambiguity.</b> Of people: 1 − Σ h(h−1)/(m(m−1)), the unbiased chance that two votes disagree, "
        "comparable between numbers of votes (the entropy of few votes' frequencies is not). Of a panel: 1 − Σq². "
        "Thirds are cut by votes that are not scored: cut by the scored votes, the low third would hold those "
        "that agreed by chance."
    )


def _failures() -> str:
    return (
        "<b>Where it fails.</b> Parts are cut by what is known without the scored votes: the label that the other "
        "votes name most often, ambiguity as above, thirds of the duration and of columns of more than 20 numbers, "
        "every other column of 2 to 20 values; columns made of votes are left out. A part's squared error less that "
        "of the factor's other utterances is tested by the delete-one-speaker jackknife (two-sided t, "
        "Satterthwaite's degrees of freedom over the speakers in the part, out of it, and in both); all parts are "
        "one family, corrected by Holm. Single speakers are another, each tested by utterance against the others "
        "(Welch's t, the others by speaker). <i>Surprises</i> are utterances whose human votes, all of them, the "
        "calibrated panel gave the lowest log score."
    )


def _listening(result: AuditResult) -> str:
    if result.listening is None or result.listening.sensitivity is None:
        return ""
    return (
        "<b>Is it listening, and what moves it.</b> <i>Sensitivity</i>: I(label; factor | utterance), in bits, the "
        "entropy of the mean over a factor's levels less the mean of their entropies (the generalised "
        "Jensen-Shannon divergence), of exact distributions at temperature 1, averaged over utterances: by itself "
        "over the complete blocks of the other factors, or within them. Sampled texts are shares of few votes, "
        "whose noise the jackknife takes off. Temperature is a transform of one distribution and counts for "
        "nothing. Between runs, the panels' distributions are compared. <i>Controls</i>: the run's worth in votes, "
        "as above, when it hears silence, noise, the transcript over silence, or the same words in another's voice; "
        "the share is of the two worths, resampled together. <i>Identity cues</i>: the shift of each label's mean "
        "probability when the prompt states another gender or accent of the same sound, tested by speaker "
        "(jackknife, two-sided t), all shifts one family, Holm. <i>Exposure</i> is what a model's makers state; "
        "where they state nothing it is unknown, which is not none."
    )


def _files() -> str:
    return (
        "<b>Figures.</b> Every estimate of this page is, unrounded and with its interval's method, in the .json of "
        "the same name, and as one row in the .parquet (section, panel, part, metric, value, low, high, method, n, "
        "groups); every utterance's own scores are in .utterances.parquet."
    )


def _intervals(result: AuditResult) -> str:
    methods_used = sorted(
        {
            row.method
            for s in result.systems
            for row in s.scores
            if not row.method.startswith(("none", "by construction"))
        }
    )
    return (
        f"<b>Intervals.</b> {100 * result.settings['level']:.0f} %, over speakers: from 60 speakers on a "
        "percentile bootstrap of whole speakers (1,000 resamples), its percentiles expanded (Hesterberg 2015), below "
        "that the delete-one-speaker jackknife with Student's t, which covers where the bootstrap does not; of bounded "
        "figures it is made on the log's or logit's scale where the plain one stays within the bounds, and nothing is "
        f"clipped. Used here: {escape(', '.join(methods_used) or 'none')}."
    )


def _panels(result: AuditResult) -> str:
    kinds = {"humans" if panel.kind == "humans" else panel.about.get("mode", "exact") for panel in result.panels}
    words = []
    if "exact" in kinds:
        words.append(
            "A run is scored by the unweighted mean of its listeners' exact answer distributions; its sampled votes' "
            "frequencies stand beside it."
        )
        words += [
            f"On average {mass_figure(panel.label_mass)} of the probability of {escape(panel.name)} fell on a label, "
            "and its distributions are shares of that."
            for panel in result.panels
            if panel.label_mass is not None
        ]
    if "verbalized" in kinds:
        words.append("A run of stated distributions is scored by their unweighted mean over its listeners.")
    if kinds & {"humans", "sample"}:
        words.append(
            "Another human panel, and a run of sampled texts, is scored by its raw vote frequencies; its log score is "
            "that of their smoothed form (Dirichlet-multinomial fitted to that panel's own votes on other speakers), "
            "since raw frequencies hold zeros; its ambiguity is counted in pairs of its votes. Its scores hold the "
            "sampling noise of its own votes, which more of them would lessen."
        )
    words.append("Scores are of panels as they are; only for their worth in votes are they calibrated.")
    return f"<b>Panels.</b> {' '.join(words)}"
