"""Questions and guesses that need neither a cooperating partner nor a language model.

The script is a tree of broad questions, parents first; a branch that an answer has ruled out comes last. After it the
first letters follow, so it never runs out within a game and never repeats a question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kaggle_utils.q20.protocol import Observation
from kaggle_utils.q20.strategies.question_cleaning import is_repeat
from kaggle_utils.q20.transcript import Beliefs

__all__ = ["LETTER_QUESTIONS", "SCRIPT", "AskScripted", "GuessScripted", "ScriptedQuestion"]


@dataclass(frozen=True)
class ScriptedQuestion:
    """A question that makes sense only after certain answers to earlier ones."""

    key: str
    text: str
    needs: Mapping[str, str] = field(default_factory=dict)
    """Key of an earlier question -> the answer ("yes" or "no") that keeps this one sensible."""


_LIVING, _THING = {"living": "yes"}, {"living": "no", "place": "no"}
_ANIMAL, _PLACE, _TOOL = {"animal": "yes"}, {"place": "yes"}, {"living": "no", "place": "no", "food": "no"}

SCRIPT: tuple[ScriptedQuestion, ...] = (
    ScriptedQuestion("living", "Is it a living thing, such as an animal or a plant?"),
    ScriptedQuestion("place", "Is it a place?", {"living": "no"}),
    ScriptedQuestion("animal", "Is it an animal?", _LIVING),
    ScriptedQuestion("food", "Is it something that people eat or drink?", {"place": "no", "animal": "no"}),
    ScriptedQuestion("man-made", "Is it made by people?", {"living": "no", "place": "no"}),
    ScriptedQuestion("city", "Is it a city?", _PLACE),
    ScriptedQuestion("country", "Is it a country?", {"place": "yes", "city": "no"}),
    ScriptedQuestion("landmark", "Is it a building or a monument?", {"place": "yes", "city": "no", "country": "no"}),
    ScriptedQuestion("europe", "Is it in Europe?", _PLACE),
    ScriptedQuestion("asia", "Is it in Asia?", {"place": "yes", "europe": "no"}),
    ScriptedQuestion("america", "Is it in North or South America?", {"place": "yes", "europe": "no", "asia": "no"}),
    ScriptedQuestion("coast", "Does it border on the sea?", _PLACE),
    ScriptedQuestion("mammal", "Is it a mammal?", _ANIMAL),
    ScriptedQuestion("bird", "Is it a bird?", {"animal": "yes", "mammal": "no"}),
    ScriptedQuestion("insect", "Is it an insect?", {"animal": "yes", "mammal": "no", "bird": "no"}),
    ScriptedQuestion("water", "Does it live in water?", _ANIMAL),
    ScriptedQuestion("pet", "Do people keep it at home or on a farm?", _ANIMAL),
    ScriptedQuestion("tree", "Is it a tree or a bush?", {"living": "yes", "animal": "no"}),
    ScriptedQuestion("flower", "Does it have large flowers?", {"living": "yes", "animal": "no"}),
    ScriptedQuestion("dish", "Is it a cooked dish?", {"food": "yes"}),
    ScriptedQuestion("sweet", "Does it taste sweet?", {"food": "yes"}),
    ScriptedQuestion("fruit", "Is it a fruit or a vegetable?", {"food": "yes"}),
    ScriptedQuestion("drink", "Is it usually a liquid?", {"food": "yes"}),
    ScriptedQuestion("hand", "Can you hold it in one hand?", {"place": "no"}),
    ScriptedQuestion("electric", "Does it need electricity to work?", {**_TOOL, "man-made": "yes"}),
    ScriptedQuestion("car", "Is it larger than a car?", {"place": "no", "hand": "no"}),
    ScriptedQuestion("house", "Would you usually find it inside a house?", _TOOL),
    ScriptedQuestion("kitchen", "Would you find it in a kitchen?", {**_TOOL, "house": "yes"}),
    ScriptedQuestion("outdoors", "Is it mainly used outdoors?", _TOOL),
    ScriptedQuestion("moves", "Can it move by its own power?", {"place": "no"}),
    ScriptedQuestion("transport", "Is it used to carry people or goods?", {**_TOOL, "hand": "no"}),
    ScriptedQuestion("wear", "Can a person wear it?", _TOOL),
    ScriptedQuestion("metal", "Does it consist mainly of metal?", _TOOL),
    ScriptedQuestion("wood", "Does it consist mainly of wood or paper?", {**_TOOL, "metal": "no"}),
    ScriptedQuestion("cloth", "Does it consist mainly of cloth or leather?", {**_TOOL, "metal": "no", "wood": "no"}),
    ScriptedQuestion("health", "Has it to do with medicine or hygiene?", _TOOL),
    ScriptedQuestion("sport", "Has it to do with sports or games?", _TOOL),
    ScriptedQuestion("office", "Would you find it in an office or a school?", _TOOL),
    ScriptedQuestion("music", "Has it to do with music or art?", _TOOL),
    ScriptedQuestion("screen", "Has it a screen or a display?", {**_TOOL, "electric": "yes"}),
    ScriptedQuestion("nature", "Does it occur in nature without people?", _THING),
    ScriptedQuestion("round", "Has it a round shape?", {"place": "no"}),
    ScriptedQuestion("expensive", "Does it usually cost more than 100 dollars?", _TOOL),
)

LETTER_QUESTIONS: tuple[str, ...] = tuple(
    f'Does the keyword start with the letter "{letter}"?' for letter in "scbpmtfdhrlgawknevojiquyzx"
)
"""First letters, the most frequent ones of nouns first."""


class AskScripted:
    """Ask the next sensible question of the script that was not asked before; always replies."""

    def reply(self, obs: Observation) -> str | None:
        """Return a question; the last letter again only in a game far longer than the rules allow."""
        sensible = _sensible(dict(zip(obs.questions, obs.answers, strict=False)))
        rest = [item.text for item in SCRIPT if item.text not in sensible]
        for text in (*sensible, *LETTER_QUESTIONS, *rest):
            # questions about letters differ in nothing but the letter: they would all count as repeats
            if text not in obs.questions and (text in LETTER_QUESTIONS or not is_repeat(text, obs.questions)):
                return text
        return LETTER_QUESTIONS[-1]


class GuessScripted:
    """Guess the most probable word that agrees with what was answered about spelling; always replies."""

    def __init__(self, beliefs: Beliefs | None = None) -> None:
        """Take the beliefs to share."""
        self.beliefs = beliefs or Beliefs()

    def reply(self, obs: Observation) -> str | None:
        """Return a word not guessed before; None only when the vocabulary is used up."""
        belief = self.beliefs.of(obs)
        return belief.best_guess() or self.beliefs.unguessed(obs).best_guess()


def _sensible(recorded: Mapping[str, str]) -> list[str]:
    """Script questions that no answer has ruled out; one that is ruled out counts as answered with no."""
    known: dict[str, str] = {}
    sensible = []
    for item in SCRIPT:
        ruled_out = any(known.get(key, answer) != answer for key, answer in item.needs.items())
        if not ruled_out:
            sensible.append(item.text)
        if ruled_out or item.text in recorded:
            known[item.key] = recorded.get(item.text, "no")
    return sensible
