"""Ask and guess with a trained policy (``q20.policy``).

Both strategies work everything out from the transcript; what they keep is only the last belief, to save time. Torch is
needed from the first turn on, not at import.
"""

from __future__ import annotations

import os
from functools import cached_property

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.q20.policy.files import SavedPolicy, load_policy
from kaggle_utils.q20.policy.residual import ResidualPolicy
from kaggle_utils.q20.protocol import Observation, keywords_match, normalize
from kaggle_utils.q20.questions import parse_question

__all__ = ["AskPolicy", "GuessPolicy", "PolicyBelief"]

_RULE_ERROR = 0.1  # of answers about the spelling that the policy never trained on


class PolicyBelief:
    """What a policy believes after a transcript; the strategies of one robot share it.

    Questions of the policy's own list count as it learned; others about the spelling count by their rule; the rest is
    passed over. Guessed words, and those that the environment takes for the same, are ruled out.
    """

    def __init__(self, saved: SavedPolicy | str | os.PathLike[str]) -> None:
        """Take a policy, or the folder of a saved one, which is read at first use."""
        self._source = saved
        self._last: tuple[object, np.ndarray] | None = None

    @property
    def saved(self) -> SavedPolicy:
        """The policy and its names."""
        if not isinstance(self._source, SavedPolicy):
            self._source = load_policy(self._source)
        return self._source

    def index_of(self, question: str) -> int | None:
        """Return the column of a question: its very text, else the same without case, spaces and punctuation."""
        exact, alike = self._columns
        return exact.get(question, alike.get(normalize(question)))

    def log_belief(self, obs: Observation) -> np.ndarray:
        """Return the log-probabilities of the objects, float32 [N], before guesses are ruled out."""
        key, last = (obs.questions, obs.answers), self._last  # read once: threads may share this object
        if last is None or last[0] != key:
            belief = self._start()
            for question, answer in zip(obs.questions, obs.answers, strict=False):
                belief = self._after(belief, question, answer)
            last = self._last = (key, belief)
        return last[1]

    def best_guess(self, obs: Observation) -> str | None:
        """Return the most probable word that was not guessed, None when all were."""
        gone = self._ruled_out(obs)
        best = int(np.where(gone, -np.inf, self.log_belief(obs)).argmax())
        return None if gone.all() else self.saved.objects[best]

    def best_question(self, obs: Observation) -> str | None:
        """Return the question of the highest score that was not asked and gives no keyword away, or None."""
        torch = require("torch", extra="llm")
        policy, belief = self.saved.policy, self.log_belief(obs).copy()
        belief[self._ruled_out(obs)] = -1e4
        state = torch.as_tensor(belief, device=policy.device)[None].log_softmax(1)
        asked = torch.as_tensor(self._spent(obs), device=policy.device)[None]
        if bool(asked.all()):
            return None
        with torch.no_grad():
            scores = policy.scores(state, asked) if _residual(policy) else policy.log_policy(state.exp(), asked)
        return self.saved.questions[int(scores.argmax())]

    def _start(self) -> np.ndarray:
        begun = self.saved.policy.begin(1)[0].cpu().numpy()
        return begun if _residual(self.saved.policy) else np.log(np.maximum(begun, 1e-30))

    def _after(self, belief: np.ndarray, question: str, answer: str) -> np.ndarray:
        torch = require("torch", extra="llm")
        policy, index = self.saved.policy, self.index_of(question)
        if answer not in ("yes", "no"):
            return belief
        if index is None:
            rule = parse_question(question)
            if rule is None:
                return belief
            agrees = np.array([rule.holds(word) == (answer == "yes") for word in self.saved.objects])
            return (belief + np.log(np.where(agrees, 1.0 - _RULE_ERROR, _RULE_ERROR))).astype(np.float32)
        state = torch.as_tensor(belief, device=policy.device)[None]
        heard = torch.tensor([answer == "yes"], dtype=torch.int8, device=policy.device)
        column = torch.tensor([index], device=policy.device)
        if _residual(policy):
            return policy.update(state, column, heard)[0].cpu().numpy()
        return policy.update(state.softmax(1), column, heard)[0].log().cpu().numpy()

    def _ruled_out(self, obs: Observation) -> np.ndarray:
        """The words that were guessed, bool [N]; the environment's own comparison decides on the few that come near."""
        near = {form for guess in obs.guesses for form in _forms(normalize(guess))}
        pairs = zip(self.saved.objects, self._normal, strict=True)
        return np.array([name in near and keywords_match(word, "", obs.guesses) for word, name in pairs], dtype=bool)

    @cached_property
    def _normal(self) -> list[str]:
        return [normalize(word) for word in self.saved.objects]

    @cached_property
    def _columns(self) -> tuple[dict[str, int], dict[str, int]]:
        backwards = list(enumerate(self.saved.questions))[::-1]  # of equal texts the first one counts
        return {text: i for i, text in backwards}, {normalize(text): i for i, text in backwards}

    @cached_property
    def _unfit(self) -> np.ndarray:
        """Questions that are a bare keyword to the environment: asking one ends the episode in an error."""
        words = {form for name in self._normal for form in _forms(name)}
        return np.array([normalize(text) in words for text in self.saved.questions], dtype=bool)

    def _spent(self, obs: Observation) -> np.ndarray:
        """Questions not to ask (again)."""
        spent = self._unfit.copy()
        for question in obs.questions:
            index = self.index_of(question)
            if index is not None:
                spent[index] = True
        return spent


class AskPolicy:
    """Ask the policy's best question."""

    def __init__(self, belief: PolicyBelief | SavedPolicy | str | os.PathLike[str]) -> None:
        """Take a belief to share with ``GuessPolicy``, a policy, or the folder of a saved one."""
        self.belief = belief if isinstance(belief, PolicyBelief) else PolicyBelief(belief)

    def reply(self, obs: Observation) -> str | None:
        """Return a question, None when all were asked."""
        return self.belief.best_question(obs)


class GuessPolicy:
    """Guess the word that the policy's belief holds most probable."""

    def __init__(self, belief: PolicyBelief | SavedPolicy | str | os.PathLike[str]) -> None:
        """Take a belief to share with ``AskPolicy``, a policy, or the folder of a saved one."""
        self.belief = belief if isinstance(belief, PolicyBelief) else PolicyBelief(belief)

    def reply(self, obs: Observation) -> str | None:
        """Return a word, None when all were guessed."""
        return self.belief.best_guess(obs)


def _forms(name: str) -> set[str]:
    """What the environment may take for ``name``: it, with or without a final "s" or "es"."""
    return {name, name + "s", name + "es", name.removesuffix("s"), name.removesuffix("es")}


def _residual(policy: object) -> bool:
    return isinstance(policy, ResidualPolicy)
