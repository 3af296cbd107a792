"""What `golden.py record` runs: scenes, each a list of command lines that build on one another in a folder of its own.

The scene `demo` comes first, alone; the others start from its small corpus, run, fused corpora and models, and do not
see each other. A step that is a function makes what later steps need, or gives commands that depend on the tree. A line
is named by its place in the scene: add new ones at a scene's end, and the records that exist stay comparable.
Readers' inputs are the made-up releases of tests/fixtures/releases.py, of this checkout, for both trees.

Not recorded, for it differs from one run of the same code to the next: what `benchmark annotate` measures, a run that
`--max-hours` or a signal stops, what `--tensorboard` writes (beyond that it is there), and times, speeds and memory.
"""

import csv
import json
import math
import os
import random
import re
import subprocess
import sys
import wave
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
# The words of a command after its name in the record.
Commands = Iterable[tuple[str, list[str]]]
Step = str | Callable[[Path, Any], Commands | None]

FIRST = "demo"
DEMO = "../demo/serann-demo"
CORPUS, RUN = f"{DEMO}/corpus", f"{DEMO}/run"
FUSED, HUMAN = f"{DEMO}/fused/empirical-bayes", f"{DEMO}/fused/human"
MODEL, MODEL_HUMAN = f"{DEMO}/models/empirical-bayes", f"{DEMO}/models/human"
PREDICTION = f"{DEMO}/predictions/human"

PANELS = ["crossed", "few-shot", "identity-cues", "languages", "letters", "orders", "personas", "scaling-ambiguity"]
QUESTIONS = ["emotion", "emotion-de", "emotion-es", "emotion-fr", "scaling-ambiguity"]
QUESTIONS += ["attributes", "attributes-de", "attributes-es", "attributes-fr"]
STRATEGIES = ["auto", "empirical-bayes", "latent-class", "human-mixture", "human", "synthetic", "pool", "opinion-pool"]
STRATEGIES += ["dawid-skene", "mace", "glad"]
READERS = ["msp-podcast", "iemocap", "crema-d", "msp-improv", "emo-db", "emo-superb", "ravdess", "esd", "meld"]
READERS += ["cmu-mosei", "label-studio", "table", "hf"]
CONTROLS = ["transcript-only", "silence", "noise", "other-voice"]
OF_OTHERS = "--columns utterance_id=file --columns label=emotion --columns rater_id=who --labels demo6 --split none"
OF_OTHERS += " --name others"
POLICIES = ["primary", "merged", "mentions", "all-inclusive", "plurality", "majority"]
EXPORTS = ["hf", "emo-superb", "audformat", "label-studio"]
FURTHER_IMPORTS = [
    "iemocap releases/iemocap --labels iemocap4 -o iemocap4",
    "iemocap releases/iemocap --split none --copy-audio --name mine -o copied",
    "crema-d releases/crema-d --modality face -o crema-face",
    "crema-d releases/crema-d --modality av --split speaker --seed 3 -o crema-av",
    "crema-d releases/crema-d --filter official -o crema-official",
    "crema-d releases/crema-d --filter none --labels angry,neutral,sad -o crema-single",
    "crema-d releases/crema-d --audio releases/crema-d/AudioWAV --copy-audio -o crema-sounds",
    "cmu-mosei releases/cmu-mosei --rule threshold -o mosei-threshold",
    "cmu-mosei releases/cmu-mosei --rule argmax-abstain -o mosei-abstain",
    "ravdess releases/ravdess --modality song --copy-audio -o song",
    "emo-superb releases/emo-superb --rule 'fold 1' --labels iemocap4 -o superb4",
    "label-studio releases/label-studio --labels msp9 --columns scale=1-7 -o studio",
    "table releases/table/v.csv --labels iemocap4 --alias Angry=angry --split official --copy-audio -o cut",
    "hf releases/hf --labels iemocap4 --split none -o hf4",
    "msp-podcast releases/msp-podcast --alias Confused=sad --split official -o podcast",
    "esd releases/esd --split speaker --copy-audio -o esd-sounds",
    "emo-db releases/emo-db --seed 1 --copy-audio -o emo-sounds",
    "meld releases/meld --audio releases/meld/train_splits -o meld-sounds",
    "msp-improv releases/msp-improv --labels iemocap4 --copy-audio -o improv",
]
TRAININGS = [
    "--targets hard --loss ce",
    "--targets primary --loss dirichlet-multinomial --dimensional-loss nll-ccc",
    "--targets merged --merged-alpha 0.8 --loss weighted-kl --head tc-gru --skip",
    "--targets smoothed --loss cb-ce --pooling attentive --json",
    "--targets disaggregated --loss ce --dimensional-weight 0",
    "--loss jsd --layer weighted --layer-decay 0.9 --dimension-weights valence:1.4,arousal:1",
    "--curriculum filter --quantiles 1:.5,2:1 --epochs 2 --patience 1",
    "--curriculum reverse-filter --curriculum-over epoch",
    "--curriculum random-filter",
    "--curriculum weight --exponent 1 --last-exponent 0.5 --ramp 2 --least-weight 0.1 --epochs 2",
    "--curriculum reverse-weight --ambiguity target",
    "--unfreeze 1:0,2:1 --unfreeze-rates 1:1,2:.5 --epochs 2 --schedule newbob",
    "--batch-size 4 --accumulate 2 --schedule constant --warm-up 0 --clip 0.5 --best-by uar",
    "--learning-rate 0.001 --head-learning-rate 0.003 --weight-decay 0 --dropout 0 --no-perturb --seed 1",
]


# --- steps that are functions ---------------------------------------------------------------------------------------


def helps(folder: Path, serann: Any) -> Commands:
    """Every command and group of commands, found in the help itself: its help, and the bare call of a group."""
    groups: list[list[str]] = [[]]
    for path in groups:
        yield "-".join(["serann", *path]), ["serann", *path]
        yield "-".join(["help", *path]), ["serann", *path, "--help"]
        for name in commands_in(serann.output(*path, "--help")):
            if commands_in(serann.output(*path, name, "--help")):
                groups.append([*path, name])
            else:
                yield "-".join(["help", *path, name]), ["serann", *path, name, "--help"]


def commands_in(help_text: str) -> list[str]:
    """The names in the help's box of commands."""
    box = re.search(r"^╭─ Commands ─.*?^╰─", help_text, flags=re.M | re.S)
    return re.findall(r"^│ (\S+)", box[0], flags=re.M) if box else []


def python_examples(folder: Path, serann: Any) -> Commands:
    """The Python of the tree's own README, in order: where a module lies may change, what the code does may not."""
    readme = (serann.tree / "README.md").read_text(encoding="utf-8")
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", readme, flags=re.M | re.S), start=1):
        yield f"python-{number}", ["python", code]


def other_people(folder: Path, serann: Any) -> None:
    """A table of five other raters' votes on the demo's utterances: each says what somebody voted, or anything."""
    votes = pq.read_table(folder / CORPUS / "votes.parquet").to_pylist()
    said: dict[str, list[str]] = {}
    for row in votes:
        said.setdefault(row["utterance_id"], []).append(row["label"])
    labels, rng = sorted({row["label"] for row in votes}), random.Random(0)
    with open(folder / "others.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "who", "emotion"])
        for utterance in sorted(said):
            for rater in range(5):
                table.writerow([utterance, f"other-{rater}", rng.choice([*said[utterance], rng.choice(labels)])])


def answers_for_the_alt_test(folder: Path, serann: Any) -> None:
    """Names, numbers and distributions of three raters and two models on forty items, as JSON files."""
    rng, items = random.Random(0), [f"i{k}" for k in range(40)]
    truth = {item: rng.randrange(3) for item in items}

    def heard(item: str) -> int:
        return truth[item] if rng.random() < 0.6 else rng.randrange(3)

    humans = {f"r{j}": {item: heard(item) for item in items if rng.random() < 0.8} for j in range(4)}
    models = {name: {item: heard(item) for item in items} for name in ("large", "small")}
    named = {who: {item: "abc"[value] for item, value in of.items()} for who, of in humans.items()}
    documents = {
        "numbers": humans,
        "models-numbers": models,
        "names": named,
        "models-names": {who: {item: "abc"[value] for item, value in of.items()} for who, of in models.items()},
        "model-distributions": {
            "soft": {item: {c: 0.8 if c == "abc"[truth[item]] else 0.1 for c in "abc"} for item in items}
        },
        "speakers": {item: f"s{k % 6}" for k, item in enumerate(items)},
        "few": {who: dict(list(of.items())[:3]) for who, of in named.items()},
    }
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document))


def own_panel(folder: Path, serann: Any) -> None:
    """A listener panel of the user's own."""
    (folder / "mine.toml").write_text(
        'name = "mine"\nabout = "two listeners"\nquestion = "emotion"\nform = "label"\n\n'
        '[cross]\nfocus = ["voice", "words"]\ntemperature = [1.0]\n'
    )


def releases(folder: Path, serann: Any) -> None:
    """A small release of every corpus, each of its sounds a short tone."""
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    sys.path.insert(0, str(ROOT / "tests"))
    from fixtures.releases import RELEASES, SOUND

    for name, make in RELEASES.items():
        make(folder / "releases" / name)
    for number, path in enumerate(sorted((folder / "releases").rglob("*.wav"))):
        if path.read_bytes() == SOUND:
            write_tone(path, 150 + 20 * number)


def write_tone(path: Path, hertz: float) -> None:
    """Four tenths of a second of a tone."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        samples = (int(8000 * math.sin(2 * math.pi * hertz * i / 16000)) for i in range(6400))
        file.writeframes(b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples))


def encoders(folder: Path, serann: Any) -> None:
    """Small random checkpoints of each family of speech encoders."""
    code = (
        "from pathlib import Path\nfrom fixtures.small_encoders import make_encoder_checkpoint, whisper_config\n"
        "for family in ('wavlm', 'hubert', 'wav2vec2'):\n"
        "    make_encoder_checkpoint(Path(family), family=family, num_hidden_layers=2)\n"
        "make_encoder_checkpoint(Path('base'), num_hidden_layers=12)\n"
        "import torch\nfrom transformers import WhisperFeatureExtractor, WhisperModel\n"
        "torch.manual_seed(0)\nWhisperModel(whisper_config()).save_pretrained('whisper')\n"
        "WhisperFeatureExtractor(feature_size=16, chunk_length=2).save_pretrained('whisper')\n"
    )
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r})\n{code}"],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def frozen_recipe(folder: Path, serann: Any) -> None:
    """A recipe file of the user's own."""
    (folder / "mine.yaml").write_text(
        "# serann train FUSED --recipe mine.yaml -o MODEL\n#\n# Mine.\nepochs: 1\ntargets: hard\nloss: ce\n"
    )


def copied(source: str, copy: str) -> Step:
    """Copy a folder of an earlier scene, so that this one may change it."""

    def copying(folder: Path, serann: Any) -> None:
        import shutil

        shutil.copytree(folder / source, folder / copy)

    return copying


def written(name: str, text: str) -> Step:
    """Write a file, or over one."""

    def writing(folder: Path, serann: Any) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return writing


def removed(name: str) -> Step:
    """Remove a file."""

    def removing(folder: Path, serann: Any) -> None:
        (folder / name).unlink()

    return removing


# --- the scenes -----------------------------------------------------------------------------------------------------

SCENES: dict[str, list[Step]] = {
    FIRST: ["demo --fast --json"],
    # README.md's blocks of commands, as they were before the move.
    "readme": [
        "corpus info demo",
        "corpus holdout demo --seen 2 --seed 0 -o corpus",
        "panels",
        "annotate corpus --model demo --votes 20 -o run",
        "annotate corpus --model demo --plan -o planned",
        "annotate corpus --model demo --mode sample --panel letters --limit 12 -o sampled",
        "annotate corpus --model demo --attributes valence,arousal,dominance --limit 12 -o rated",
        "annotate corpus --model demo --max-seconds 2 --too-long windows --limit 24 -o cut",
        "audit corpus run -o report.html",
        'audit corpus run --require "sq_unbiased<=0.3, effective_votes.low>=1" --json',
        "annotate corpus --model demo --control silence -o heard-nothing",
        "audit corpus run heard-nothing -o listening.html",
        "fuse corpus run --dry-run",
        "fuse corpus run -o fused",
        "fuse corpus --strategy human -o fused-human",
        "fuse corpus run --strategy dime-aug --rho 0.3 -o fused-dime",
        "fuse corpus --next 20 -o next-votes",
        "train fused --model wavlm --from-scratch --epochs 3 -o model",
        "train fused-human --model wavlm --from-scratch --epochs 3 -o model-human",
        "predict model corpus -o predictions",
        "evaluate model corpus --snr 5,20 -o evaluation.html",
        "compare model-human predictions corpus",
        "train --recipes",
        "train fused --from-scratch --plan",
        "train fused --from-scratch --targets merged --loss jsd --head tc-gru --curriculum weight --epochs 1 "
        "-o model-other",
        "corpus readers",
        "corpus readers crema-d",
        "corpus info demo",
        "corpus check demo",
        "corpus split demo --test 0.25 --development 0.25 -o resplit",
        "corpus distributions demo --policy plurality --ties split -o plurality.parquet",
        "corpus export demo hf -o dataset",
        "corpus export demo label-studio --run run -o tasks",
        python_examples,
    ],
    "help": [helps, "--version"],
    "lists": [
        "models",
        "models --json",
        "prompts",
        "prompts --json",
        *(f"prompts {name}" for name in QUESTIONS),
        "prompts emotion --json",
        "prompts attributes-de --json",
        "panels --json",
        *(f"panels {name}" for name in PANELS),
        *(f"panels {name} --render" for name in PANELS),
        "panels crossed --json",
        "panels few-shot --render --json",
        "panels letters --render --labels iemocap4 --transcript 'What <now>?'",
        own_panel,
        "panels mine.toml --render",
        "corpus readers --json",
        *(f"corpus readers {name}" for name in READERS),
        "corpus readers table --json",
        "corpus distributions --policies",
        "corpus distributions --policies --json",
        "train --recipes --json",
        "corpus info demo --json",
        "corpus check demo --json",
        f"corpus info {CORPUS}",
        f"corpus info {FUSED} --json",
        f"corpus check {FUSED} --no-sounds --least-votes 9 --max-seconds 1.5 --most 2",
    ],
    "fuse": [
        f"annotate {CORPUS} --model demo --panel letters -o letters",
        other_people,
        f"corpus import table others.csv {OF_OTHERS} -o others",
        *(f"fuse {CORPUS} {'' if s == 'human' else RUN} --strategy {s} -o {s}" for s in STRATEGIES),
        f"fuse {CORPUS} {RUN} letters others --json -o several",
        f"fuse {CORPUS} others -o by-others",
        *(
            f"fuse {CORPUS} {RUN} letters --strategy {s} --json --no-sounds -o two-{s}"
            for s in STRATEGIES
            if s != "human"
        ),
        f"fuse {CORPUS} {RUN} --dry-run --json",
        f"fuse {CORPUS} --dry-run",
        f"fuse {CORPUS} {RUN} --strategy empirical-bayes --strength 2 --json -o strong",
        f"fuse {CORPUS} {RUN} --strategy opinion-pool --opinion logarithmic -o logarithmic",
        f"fuse {CORPUS} {RUN} --strategy opinion-pool --weight 0.5 --dry-run",
        f"fuse {CORPUS} {RUN} --strategy dime-aug --dry-run",
        f"fuse {CORPUS} {RUN} --strategy dime-aug --blend human-mixture --beta 0.9 --concatenate -o dime",
        f"fuse {CORPUS} {RUN} --strategy dime-aug --dime paper --rho 0.5 -o dime-paper",
        f"fuse {CORPUS} --strategy dime-aug --blend human --dime paper --neighbours 2 --true-neighbours --json -o near",
        f"fuse {CORPUS} {RUN} --strategy human --overwrite -o strong",
        f"fuse {CORPUS} {RUN} --next 5 -o next-votes",
        f"fuse {CORPUS} {RUN} --next 5 --json --overwrite -o next-votes",
        f"benchmark fusion {CORPUS} --proxy {RUN} --seen 2 --heldout 3 --seeds 1 --strategies human,human-mixture,pool "
        "--json",
        f"benchmark fusion {CORPUS} --proxy {RUN} --proxy letters --seen 2 --heldout 3 --seeds 1 --no-stress "
        "--strategies human,human-mixture,empirical-bayes --json",
        "benchmark annotate --quick --json",
    ],
    "audit": [
        f"annotate {CORPUS} --model demo --panel letters -o letters",
        f"annotate {CORPUS} --model demo --panel identity-cues --votes 9 -o cues",
        f"annotate {CORPUS} --model demo --panel crossed --mode sample --votes 5 -o sampled",
        *(f"annotate {CORPUS} --model demo --control {control} -o {control}" for control in CONTROLS),
        other_people,
        f"corpus import table others.csv {OF_OTHERS} -o others",
        f"audit {CORPUS} {RUN}",
        f"audit {CORPUS} {RUN} letters -o two.html",
        f"audit {CORPUS} {RUN} silence transcript-only noise other-voice -o controls.html",
        f"audit {CORPUS} cues others sampled -o others.html",
        f"audit {CORPUS} {RUN} --votes-scored 2 --draws 5 --seed 1 --level 0.9 --margin 0.2 --epsilon 0.2 --json",
        f"audit {CORPUS} {RUN} --draws 2 -o two.html",
        f"audit {CORPUS} {RUN} --draws 2 --overwrite -o two.html",
        f'audit {CORPUS} {RUN} --draws 2 --require "sq_unbiased<=0.001, log_score>=-2"',
        f'audit {CORPUS} {RUN} --draws 2 --require "sq_unbiased<=0.9" --json',
        f'audit {CORPUS} {RUN} --draws 2 --require "beauty<=0.9"',
        answers_for_the_alt_test,
        "alt-test --humans names.json --model models-names.json",
        "alt-test --humans names.json --model models-names.json --epsilon 0.2 --q 0.1 --speakers speakers.json --json",
        "alt-test --humans numbers.json --model models-numbers.json --scorer neg-rmse",
        "alt-test --humans numbers.json --model models-numbers.json --scorer neg-rmse --min-instances 5 --json",
        "alt-test --humans names.json --model model-distributions.json --scorer log-score --json",
        "alt-test --humans few.json --model models-names.json",
        "alt-test --humans names.json --model models-names.json --scorer beauty",
    ],
    "annotate": [
        *(f"annotate {CORPUS} --model demo --panel {name} --limit 6 -o {name}" for name in PANELS),
        *(f"annotate {CORPUS} --model demo --panel {name} --mode sample --limit 4 -o sample-{name}" for name in PANELS),
        *(
            f"annotate {CORPUS} --model demo --panel {n} --mode verbalized --limit 2 --json -o shares-{n}"
            for n in PANELS
        ),
        f"annotate {CORPUS} --model demo --mode verbalized --limit 4 -o verbalized",
        f"annotate {CORPUS} --model demo --mode sample --reason --limit 3 --votes 4 -o reasoned",
        own_panel,
        f"annotate {CORPUS} --model demo --panel mine.toml --limit 3 --votes 0 --seed 1 -o mine",
    ],
    "annotate-more": [
        f"annotate {CORPUS} --model demo --attributes valence,arousal --limit 4 --json -o rated",
        f"annotate {CORPUS} --model demo --attributes dominance --panel languages --mode sample --limit 4 -o rated-too",
        f"annotate {CORPUS} --model demo --max-seconds 1.2 --limit 12 -o rejected",
        f"annotate {CORPUS} --model demo --max-seconds 1.2 --limit 12 -o rejected",
        f"annotate {CORPUS} --model demo --max-seconds 1.2 --too-long truncate --limit 12 -o truncated",
        f"annotate {CORPUS} --model demo --max-seconds 1.2 --too-long windows --attributes valence --limit 9 -o cut",
        *(
            f"annotate {CORPUS} --model demo --control {control} --limit 6 --panel {panel} -o {control}"
            for control, panel in zip(CONTROLS, ("crossed", "letters", "orders", "personas"), strict=True)
        ),
        f"annotate {CORPUS} --model demo --limit 4 -o again",
        f"annotate {CORPUS} --model demo --limit 4 -o again",
        f"annotate {CORPUS} --model demo --limit 6 --votes 30 --json -o again",
        f"annotate {CORPUS} --model demo --limit 6 --panel letters -o again",
        f"annotate {CORPUS} --model demo --limit 3 --panel letters --overwrite -o again",
        f"annotate {CORPUS} --model demo --limit 5 --batch-size 2 --workers 1 --selfcheck -o checked",
        f"annotate {CORPUS} --model demo --limit 5 --dtype bfloat16 -o rounded",
        f"annotate {CORPUS} --model demo --limit 40 --plan -o planned",
        f"annotate {CORPUS} --model demo --limit 40 --plan --max-hours 1 --json -o planned",
        copied(CORPUS, "corpus"),
        copied(RUN, "run"),
        "annotate corpus --model demo -o run",
        written("run/votes.parquet", "no table"),
        "annotate corpus --model demo -o run",
        "audit corpus run",
        written("run/run.json", "{}"),
        "annotate corpus --model demo -o run",
    ],
    "train": [
        *(f"train {FUSED} --from-scratch --epochs 1 {asked} -o model-{i}" for i, asked in enumerate(TRAININGS)),
        f"train {FUSED} --from-scratch --epochs 1 --targets hard --loss ce -o model-0",
        f"train {FUSED} --from-scratch --epochs 2 --targets hard --loss ce -o model-0",
        f"train {FUSED} --from-scratch --epochs 2 --targets hard --loss ce --overwrite -o model-0",
        f"predict model-1 {CORPUS} --json -o predicted",
        f"compare {MODEL} model-1 predicted {CORPUS} --seed 1 -o comparison.html",
    ],
    "train-more": [
        encoders,
        f"train {FUSED} --model wavlm-none --epochs 1 -o none",
        *(
            f"train {FUSED} --model ./{name} --epochs 1 -o of-{name}"
            for name in ("wavlm", "hubert", "wav2vec2", "whisper")
        ),
        f"train {FUSED} --model ./wavlm --frozen --layer auto --epochs 2 --features frames -o frozen",
        f"train {HUMAN} --model ./wavlm --frozen --layer 1 --epochs 1 --features frames --json -o frozen-too",
        f"train {FUSED} --model ./hubert --unfreeze 1:1,2:2 --layer weighted --epochs 2 --tensorboard -o unfrozen",
        f"train {FUSED} --model ./wavlm --recipe mitra2025-tc-gru --epochs 1 -o recipe",
        f"train {FUSED} --model ./base --recipe omidi2026-m90-filter --epochs 1 -o recipe-m90",
        f"train {HUMAN} --model ./base --recipe omidi2026-hard-cbce --epochs 1 -o recipe-hard",
        frozen_recipe,
        f"train {FUSED} --from-scratch --recipe mine.yaml -o recipe-mine",
        f"train {FUSED} --from-scratch --plan --json",
        f"train {FUSED} --model ./wavlm --frozen --layer auto --epochs 2 --plan",
        f"predict frozen {CORPUS} -o predicted",
        f"predict of-whisper {CORPUS} --batch-seconds 20 -o predicted-whisper",
    ],
    "evaluate": [
        f"evaluate {MODEL} {CORPUS}",
        f"evaluate {MODEL} {CORPUS} --json",
        f"evaluate {MODEL} {CORPUS} --split development --votes-scored 2 --speaker-support 1 --seed 1 -o page.html",
        f"evaluate {PREDICTION} {CORPUS} --split train -o prediction.html",
        f"evaluate {MODEL} {CORPUS} --snr 10 --noise babble,white -o noise.html",
        f"evaluate {MODEL} {CORPUS} -o page.html",
        f"evaluate {MODEL} {CORPUS} --overwrite -o page.html",
        f"evaluate {PREDICTION} {CORPUS} --snr 10",
        f"evaluate {MODEL} demo",
        f"compare {MODEL_HUMAN} {MODEL} {CORPUS}",
        f"compare {MODEL_HUMAN} {MODEL} {PREDICTION} {CORPUS} --against {MODEL} --json",
        f"compare {MODEL} {PREDICTION} {CORPUS} --votes-scored 2 -o comparison.html",
        f"predict {MODEL} {CORPUS} -o predicted",
        f"predict {MODEL} {CORPUS} -o predicted",
        f"predict {MODEL} {CORPUS} --overwrite --json -o predicted",
        copied(CORPUS, "corpus"),
        f"corpus export {CORPUS} emo-superb --copy-audio -o sounds",
    ],
    "demo-again": [
        "demo --fast --seed 1 -o first-look",
        "demo --fast --seed 1 -o first-look",
        "demo --fast --overwrite -o first-look",
    ],
    "readers": [
        releases,
        *(f"corpus import {name} releases/{name} -o {name}" for name in READERS if name != "table"),
        "corpus import table releases/table/v.csv --columns scale=1-7 -o table",
        *(f"corpus info {name} --json" for name in READERS),
        *(f"corpus check {name} --json" for name in READERS),
        *(f"corpus import {named} --json" for named in FURTHER_IMPORTS),
        "corpus import iemocap releases/iemocap -o iemocap",
        "corpus import iemocap releases/iemocap --overwrite -o iemocap",
        "corpus import table releases/table/v.csv --columns label=feeling -o mine",
        "corpus import table releases/table/v.csv --alias Angry=rage --labels iemocap4 -o mine",
        "corpus import crema-d releases/crema-d --modality smell -o mine",
        "corpus import cmu-mosei releases/cmu-mosei --rule mean -o mine",
        "corpus import ravdess releases/ravdess --split official -o mine",
        "corpus import meld releases/meld --filter none -o mine",
        "corpus import hf releases/hf --columns label -o mine",
        "corpus check crema-d",
        "corpus info cmu-mosei",
        "annotate cut --model demo --limit 4 -o run",
    ],
    "corpora": [
        releases,
        "corpus import iemocap releases/iemocap -o iemocap",
        "corpus import msp-podcast releases/msp-podcast -o msp",
        *(f"corpus distributions iemocap --policy {name} --json -o {name}.parquet" for name in POLICIES),
        *(f"corpus distributions msp --policy {name} -o msp-{name}.parquet" for name in POLICIES),
        *(f"corpus distributions demo --policy {name} --json" for name in POLICIES),
        "corpus distributions msp --policy merged --alpha 0.6 --outside leave-out --min-votes 2 --json",
        f"corpus distributions {CORPUS} --policy plurality --ties split --min-votes 3 --json -o split.parquet",
        f"corpus distributions {CORPUS} --policy plurality --ties leave-out -o split.parquet",
        f"corpus distributions {CORPUS} --policy plurality --ties leave-out --overwrite -o split.parquet",
        *(f"corpus export {CORPUS} {kind} -o {kind}" for kind in EXPORTS),
        *(f"corpus export iemocap {kind} --copy-audio --policy merged -o iemocap-{kind}" for kind in EXPORTS),
        f"corpus export {CORPUS} hf --copy-audio --policy plurality -o hf-sounds",
        f"corpus export {CORPUS} label-studio --run {RUN} -o tasks",
        f"corpus export {FUSED} hf -o fused-hf",
        "corpus export msp emo-superb -o msp-emo-superb",
        "corpus export iemocap hf -o hf",
        "corpus import hf hf --labels demo6 -o back-hf",
        "corpus import hf hf-sounds --json -o back-sounds",
        "corpus import hf iemocap-hf -o back-iemocap",
        "corpus import label-studio tasks/annotated.json -o back-tasks",
        "corpus import label-studio label-studio/annotated.json --labels demo6 --json -o back-label-studio",
        "corpus import emo-superb emo-superb --json -o back-emo-superb",
        "corpus info back-hf --json",
        "corpus check back-sounds --json",
        f"corpus split {CORPUS} --test 0.3 --development 0.2 --seed 1 --json -o resplit",
        f"corpus split {CORPUS} --seed 2 --overwrite -o resplit",
        "corpus split msp -o msp-split",
        "corpus holdout resplit --seen 3 --seed 5",
        "corpus holdout resplit --seen 2",
        "corpus holdout resplit --seen 2 --overwrite --json",
        f"corpus holdout {CORPUS} --seen 1 --json -o divided",
        "corpus holdout iemocap --seen 1 -o divided-iemocap",
        "fuse divided --strategy human --json -o fused",
        f"audit divided {RUN} --draws 2 --json",
    ],
    "wrong": [
        "corpus info nowhere",
        "annotate nowhere --model demo -o run",
        "annotate demo --model no/such-model -o run",
        "annotate demo --model demo --panel nobody -o run",
        "annotate demo --model demo --mode guess -o run",
        "annotate demo --model demo --mode exact --reason -o run",
        "annotate demo --model demo --engine abacus -o run",
        "annotate demo --model demo --attributes beauty -o run",
        "annotate demo --model demo --control whisper -o run",
        "annotate demo --model demo --too-long forget -o run",
        "annotate demo --model demo --limit 0 -o run",
        "annotate demo --model demo --votes -1 -o run",
        "annotate demo --model demo --mode sample --too-long windows --max-seconds 2 -o run",
        "annotate demo --model demo",
        "audit demo nowhere",
        f"audit demo {RUN} -o report.txt",
        "audit demo demo",
        f"audit {CORPUS} {RUN} --level 2",
        "fuse demo nowhere -o fused",
        "fuse demo --strategy majority -o fused",
        f"fuse {CORPUS} {RUN} --strategy pool --strength 2 -o fused",
        f"fuse {CORPUS} {RUN} --strategy empirical-bayes --strength -1 -o fused",
        f"fuse {CORPUS} {RUN} --strategy dime-aug --dime paper --beta 0.9 -o fused",
        f"fuse {CORPUS} {RUN} --strategy dime-aug --rho 2 -o fused",
        f"fuse {CORPUS} {RUN} {RUN} -o fused",
        f"fuse {CORPUS} {RUN}",
        "fuse demo --next 0 -o next",
        "train nowhere --model wavlm -o model",
        "train demo -o model",
        "train",
        f"train {FUSED} --from-scratch",
        f"train {FUSED} --from-scratch --loss hinge -o model",
        f"train {FUSED} --from-scratch --ramp 2 --merged-alpha 0.5 --epochs 0 -o model",
        f"train {FUSED} --from-scratch --frozen --unfreeze 1:1 --layer 77 -o model",
        f"train {FUSED} --recipe none -o model",
        f"train {FUSED} --model microsoft/wavlm-base-plus -o model",
        "predict nowhere demo -o pred",
        f"predict {MODEL} nothing.wav -o pred",
        "evaluate nowhere demo",
        f"evaluate {MODEL} {CORPUS} --split holiday",
        f"evaluate {MODEL} {CORPUS} --noise rain --snr 5",
        f"evaluate {MODEL} {CORPUS} --snr loud",
        f"compare {MODEL} {CORPUS}",
        f"compare {MODEL} {MODEL_HUMAN} {CORPUS} --against nobody",
        "corpus holdout demo --seen 0 -o divided",
        "corpus holdout demo --seen 2",
        "corpus split demo --test 0.9 --development 0.3 -o split",
        "corpus import nobody . -o corpus",
        "corpus import crema-d . -o corpus",
        "corpus readers nobody",
        "corpus distributions",
        "corpus distributions demo --policy majority",
        "corpus distributions demo --policy merged --alpha 2 --ties never",
        "corpus export demo excel -o out",
        "panels nobody",
        "prompts nobody",
        "panels crossed --render --labels nothing",
        "sing",
        "annotate demo --model demo --loud -o run",
        written("mine/letter.txt", "not serann's"),
        "corpus holdout demo --seen 2 -o mine",
        "corpus holdout demo --seen 2 --overwrite -o mine",
        "demo --fast --overwrite -o mine",
        copied(CORPUS, "corpus"),
        f"fuse {CORPUS} {RUN} --overwrite -o corpus",
        f"annotate {CORPUS} --model demo --overwrite -o corpus",
        "corpus split corpus --overwrite -o corpus",
        written("corpus/corpus.json", '{"format": 99}'),
        "corpus info corpus",
        written("corpus/corpus.json", '{"format": 1, "colour": "red"}'),
        "corpus info corpus",
        written("corpus/corpus.json", "{"),
        "corpus info corpus",
        removed("corpus/corpus.json"),
        "corpus info corpus",
        copied(CORPUS, "damaged"),
        written("damaged/votes.parquet", "no table"),
        "corpus info damaged",
        copied(RUN, "run"),
        written("run/listeners.parquet", "no table"),
        f"audit {CORPUS} run",
        f"fuse {CORPUS} run -o fused-damaged",
        f"annotate {CORPUS} --model demo -o run",
        removed("run/scores.parquet"),
        f"annotate {CORPUS} --model demo -o run",
        removed("run/run.json"),
        f"fuse {CORPUS} run -o fused-damaged",
        copied(MODEL, "model"),
        written("model/weights.safetensors", "no weights"),
        f"evaluate model {CORPUS}",
        removed("model/weights.safetensors"),
        f"predict model {CORPUS} -o pred",
    ],
}
