"""The sentences that the simulated speakers say: mostly neutral, a minority with mildly emotional words."""

from __future__ import annotations

from dataclasses import dataclass

SENTENCE_SETS = ("corpus", "other")

NEUTRAL: dict[str, tuple[str, ...]] = {
    "corpus": (
        "The keys are on the kitchen table.",
        "We will meet at the station at nine.",
        "The report is in the blue folder.",
        "She left her coat in the car.",
        "It is eleven o'clock.",
        "The bus stops near the library.",
        "He put the box on the shelf.",
        "They are moving to the third floor.",
        "The window in the hall is open.",
        "I think the train is coming.",
        "There are two letters on the desk.",
        "My brother called this morning.",
        "The meeting is after lunch.",
        "You can find it in the drawer.",
        "The dog is in the garden.",
        "Please turn left at the corner.",
        "I have read the second chapter.",
        "The water is in the bottle.",
        "We bought bread and milk.",
        "The lamp is next to the door.",
        "He told me about the plan.",
        "Dinner will be ready at seven.",
        "The road goes along the river.",
        "I saw them at the market.",
    ),
    "other": (
        "The paper is under the chair.",
        "We came back on Monday.",
        "The shop closes at six.",
        "Her bag is near the stairs.",
        "I heard the phone ring.",
        "The chairs are in the next room.",
        "He is talking to the manager.",
        "It will take about an hour.",
        "They painted the fence white.",
        "The map is on the wall.",
        "You wrote the number here.",
        "The children are at school.",
        "We live across the street.",
        "I will send the form tomorrow.",
        "The boat is at the pier.",
        "She works in the other office.",
        "The coffee is on the counter.",
        "There is a tree behind the house.",
    ),
}

# Words that lean towards one label. They say nothing about how the sentence is spoken.
LEANING: dict[str, tuple[tuple[str, str], ...]] = {
    "corpus": (
        ("happy", "That is such lovely news."),
        ("happy", "We won the first prize."),
        ("angry", "You broke it again."),
        ("angry", "Stop doing that right now."),
        ("sad", "I miss her very much."),
        ("sad", "We lost the old house."),
        ("fear", "Someone is behind the door."),
        ("fear", "I don't want to go down there."),
        ("surprise", "I never expected to see you."),
        ("surprise", "Look who is here."),
    ),
    "other": (
        ("happy", "What a wonderful day."),
        ("happy", "I love this little song."),
        ("angry", "You never listen to me."),
        ("angry", "Leave my things alone."),
        ("sad", "Nobody came to visit him."),
        ("sad", "It is over and they are gone."),
        ("fear", "There is something in the dark."),
        ("fear", "Hurry, it is coming closer."),
        ("surprise", "I can't believe it is you."),
        ("surprise", "All of a sudden it was gone."),
    ),
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence: its script id, its words, and the label its words lean towards (None: to none)."""

    script: str
    text: str
    lean: str | None


def sentences(which: str) -> tuple[Sentence, ...]:
    """All sentences of one set, the neutral ones first. The two sets share no sentence.

    >>> [s.script for s in sentences("corpus")][:2], len(sentences("corpus"))
    (['c01', 'c02'], 34)
    """
    pairs = [(None, text) for text in NEUTRAL[which]] + list(LEANING[which])
    return tuple(Sentence(f"{which[0]}{i:02d}", text, lean) for i, (lean, text) in enumerate(pairs, start=1))
