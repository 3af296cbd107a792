"""The names that columns of tables of votes usually have."""

import re

from ..schemas import DIMENSIONS

# The usual names of each field, the surest first; two that are equally sure are a question for the user. Names are
# compared by their letters and digits alone.
USUAL: dict[str, tuple[str, ...]] = {
    "utterance_id": (
        "utteranceid uttid utterance utt sampleid clipid segmentid",
        "filename file clip clipname segment wavname audioname stimulus item",
        "id name",
    ),
    "rater_id": (
        "raterid rater workerid worker annotatorid annotator listenerid listener evaluatorid evaluator judge",
    ),
    "label": (
        "label emotion vote primary primaryemotion emoclassmajor perceivedemotion",
        "emoclass answer response category class annotation",
    ),
    "secondary": ("secondary secondaryemotion secondaryemotions emoclasssecond",),
    "rank": ("rank",),
    "source": ("source",),
    "weight": ("weight",),
    "count": ("count numvotes nvotes",),
    "draw": ("draw",),
    "reason": ("reason",),
    # Before free_text: where a file may hold both, a column called text is what was said.
    "transcript": ("transcript transcription", "text sentence"),
    "free_text": ("freetext othertext", "text"),
    "dimension": ("dimension",),
    "value": ("value",),
    "audio": ("audio audiopath audiofile wavpath path wav sound", "filepath file filename"),
    "start": ("start starttime onset begin",),
    "end": ("end endtime stop offset",),
    "duration": ("duration dur seconds",),
    "speaker": ("speaker speakerid spk spkid spkrid spkr", "actor actorid"),
    "gender": ("gender sex speakergender",),
    "split": ("split splitset partition", "subset set"),
    "dialogue": ("dialogue dialogueid dialog dialogid conversation conversationid",),
    "script": ("script scriptid sentenceid",),
    "language": ("language lang locale",),
    "intended": ("intended intendedemotion acted actedemotion dispemo",),
    "consensus": ("consensus consensuslabel gold goldlabel majority majorityvote groundtruth",),
    "valence": ("valence val emoval",),
    "arousal": ("arousal aro activation act emoact",),
    "dominance": ("dominance dom emodom",),
    "naturalness": ("naturalness nat",),
}
UTTERANCE_FIELDS = [
    "audio",
    "start",
    "end",
    "duration",
    "speaker",
    "gender",
    "split",
    "dialogue",
    "script",
    "transcript",
    "language",
    "intended",
    "consensus",
]
VOTE_FIELDS = ["rater_id", "label", "secondary", "rank", "source", "weight", "count", "draw", "reason", "free_text"]
# What each kind of file may hold, besides the utterance's id.
KINDS: dict[str, tuple[str, ...]] = {
    "single": (*VOTE_FIELDS, *UTTERANCE_FIELDS, *DIMENSIONS),
    "utterances": (*UTTERANCE_FIELDS, *DIMENSIONS),
    "votes": (*VOTE_FIELDS, *DIMENSIONS),
    "ratings": ("rater_id", "source", "dimension", "value"),
}
RATER_COLUMN = re.compile(
    r"(rater|annotator|worker|listener|evaluator|judge|coder|labell?er)[_\- ]?(id)?[_\- ]?\d+", re.I
)
COUNT_AFFIX = re.compile(r"^(count|counts|votes|num|n)\W*[:_\- ]+|[_\- ](count|counts|votes)$", re.I)


def plain_name(name: str) -> str:
    """A column's name by its letters and digits alone."""
    return re.sub(r"[\W_]+", "", name).casefold()
