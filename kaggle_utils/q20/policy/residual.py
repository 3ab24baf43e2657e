"""A questioner of the form beta * EIG + learned residual, on a Bayesian belief with a learned answer channel.

Untrained it is the Bayesian questioner: greedy expected information gain under the assumed noise. Training replaces the
assumed noise by each question's own rates and adds to the score of each question a preference of its own and one that
depends linearly on the belief (through a few directions). The information gain is taken relative to the best question
of the moment, so that ``beta`` means the same early and late in a game.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.q20.policy.channel import AnswerChannel

if TYPE_CHECKING:
    import torch

__all__ = ["ResidualPlayer", "ResidualPolicy"]

_LOG2E = 1.4426950408889634
_TINY = 1e-7  # in float32 1 - 1e-7 is below 1, 1 - 1e-9 is not: its logarithm would turn gains into NaN


class ResidualPolicy:
    """Scores of all questions for a batch of beliefs.

    Args:
        theta: P(yes) of right answers, [N, Q].
        prior: [N], uniform by default.
        channel: assumed noise; ``AnswerChannel.even(Q)`` by default.
        beta: weight of a question's gain, as a share of the best question's gain.
        rank: directions of the belief that the residual sees; 0 for none.
        seed: of the directions.

    One step costs two products [G, N] x [N, Q].
    """

    def __init__(
        self,
        theta: np.ndarray,
        *,
        prior: np.ndarray | None = None,
        channel: AnswerChannel | None = None,
        beta: float = 30.0,
        rank: int = 8,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        torch = require("torch", extra="llm")
        self.theta = np.ascontiguousarray(theta, dtype=np.float32)
        objects, questions = self.theta.shape
        uniform = np.full(objects, 1.0 / objects)
        self.prior = uniform if prior is None else np.asarray(prior, dtype=np.float64) / np.sum(prior)
        self.device, self.rank = device, rank
        generator = torch.Generator().manual_seed(seed)
        self.beta = torch.tensor(float(beta), device=device)
        self.bias = torch.zeros(questions, device=device)
        self.directions = torch.randn(objects, rank, generator=generator).to(device)
        self.weight = torch.zeros(rank, questions, device=device)
        self.set_channel(channel or AnswerChannel.even(questions))

    @property
    def size(self) -> tuple[int, int]:
        """Objects and questions."""
        return self.theta.shape

    def parameters(self) -> list[torch.Tensor]:
        """What the policy gradient trains: the residual. Zero means none."""
        return [self.bias, self.weight]

    def set_channel(self, channel: AnswerChannel) -> None:
        """Assume other noise from now on."""
        torch = require("torch", extra="llm")
        self.channel = channel
        yes = torch.as_tensor(channel.likelihood(self.theta), device=self.device).clamp(_TINY, 1.0 - _TINY)
        self._log_yes, self._log_no = yes.log().T.contiguous(), (-yes).log1p().T.contiguous()  # [Q, N]
        self._both = torch.cat([yes, _entropy(yes)], dim=1)
        self._heard = 1.0 - torch.as_tensor(channel.unsure, device=self.device)

    def begin(self, games: int) -> torch.Tensor:
        """Return the log-belief before any answer, float32 [games, N]."""
        torch = require("torch", extra="llm")
        log_prior = torch.as_tensor(np.log(np.maximum(self.prior, 1e-30)), dtype=torch.float32, device=self.device)
        return log_prior.expand(games, -1).clone()

    def update(self, log_belief: torch.Tensor, question: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        """Return the log-belief after answers int8 [G] (1, 0, -1 says nothing) to questions int64 [G]."""
        torch = require("torch", extra="llm")
        answer = answer[:, None]
        evidence = torch.where(answer == 1, self._log_yes[question], self._log_no[question])
        return torch.log_softmax(log_belief + evidence * (answer >= 0), dim=1)

    def gain(self, log_belief: torch.Tensor) -> torch.Tensor:
        """Return the expected information of each question in bits, float32 [G, Q], never below 0."""
        both = log_belief.softmax(1) @ self._both
        yes, given = both.chunk(2, dim=1)
        return ((_entropy(yes.clamp(_TINY, 1.0 - _TINY)) - given) * self._heard).clamp_min(0.0)

    def residual(self, log_belief: torch.Tensor) -> torch.Tensor:
        """Return the learned part of the score, float32 [G, Q]."""
        return self.bias + (log_belief.softmax(1) @ self.directions) @ self.weight

    def scores(self, log_belief: torch.Tensor, asked: torch.Tensor, gain: torch.Tensor | None = None) -> torch.Tensor:
        """Return the score of each question, float32 [G, Q]; -inf for those in ``asked`` bool [G, Q]."""
        gain = self.gain(log_belief) if gain is None else gain
        best = gain.masked_fill(asked, 0.0).amax(1, keepdim=True).clamp_min(1e-6)
        return (self.beta * gain / best + self.residual(log_belief)).masked_fill(asked, float("-inf"))

    def copy(self) -> ResidualPolicy:
        """Return an independent policy with the same table, channel and residual."""
        other = ResidualPolicy(self.theta, prior=self.prior, channel=self.channel, rank=self.rank, device=self.device)
        other.beta, other.directions = self.beta.clone(), self.directions
        other.bias, other.weight = self.bias.detach().clone(), self.weight.detach().clone()
        return other

    def without_residual(self) -> ResidualPolicy:
        """Return the same policy with the residual set to zero: greedy gain under the learned noise."""
        other = self.copy()
        other.bias.zero_()
        other.weight.zero_()
        return other


class ResidualPlayer:
    """Plays a policy greedily, or samples its questions from the softmax of the scores (see ``environment.Player``)."""

    def __init__(self, policy: ResidualPolicy, *, sample_seed: int | None = None) -> None:
        self.policy, self.sample_seed = policy, sample_seed

    def start(self, games: int) -> None:
        """Begin new games."""
        torch = require("torch", extra="llm")
        self.belief = self.policy.begin(games)
        if self.sample_seed is not None:
            self._generator = torch.Generator(self.policy.device).manual_seed(self.sample_seed)

    def ask(self, asked: torch.Tensor) -> torch.Tensor:
        """Return the question of each game."""
        torch = require("torch", extra="llm")
        with torch.no_grad():
            scores = self.policy.scores(self.belief, asked)
            if self.sample_seed is None:
                return scores.argmax(1)
            return scores.softmax(1).multinomial(1, generator=self._generator)[:, 0]

    def hear(self, question: torch.Tensor, answer: torch.Tensor) -> None:
        """Update the belief."""
        self.belief = self.policy.update(self.belief, question, answer)

    def guess(self, wrong: torch.Tensor) -> torch.Tensor:
        """Return the most probable object not known to be wrong, and rule the wrong ones out."""
        self.belief = self.belief.masked_fill(wrong, -1e4)
        return self.belief.argmax(1)


def _entropy(p: torch.Tensor) -> torch.Tensor:
    """Binary entropy in bits of probabilities within (0, 1)."""
    return -(p * p.log() + (1.0 - p) * (-p).log1p()) * _LOG2E
