"""Games with a small language model: against the source notebook's robot, and for words that our table lacks."""

from __future__ import annotations

import functools
import random
import subprocess
import sys

import _q20_tables
import numpy as np
import torch
from _report import ROOT

from kaggle_utils.chat.generator import TextGenerator
from kaggle_utils.inference.generation import HFGenerator
from kaggle_utils.q20.agent import default_robot
from kaggle_utils.q20.keywords import load_keywords
from kaggle_utils.q20.tournament.lockstep import LockstepGenerator
from kaggle_utils.q20.tournament.notebook_robot import NotebookRobot
from kaggle_utils.q20.tournament.players import AgentPlayer, RobotPlayer
from kaggle_utils.q20.tournament.round_robin import Match, Tournament, duels, play_matches
from kaggle_utils.q20.tournament.simulate import wilson
from kaggle_utils.q20.tournament.strangers import TablePlayer
from kaggle_utils.q20.vocabulary import Vocabulary, load_vocabulary

__all__ = ["against_notebook", "proposals"]


@functools.cache
def _model() -> TextGenerator:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "small_model.py")], check=True, capture_output=True, text=True
    )
    on_gpu = torch.cuda.is_available()
    return HFGenerator.from_folder(
        done.stdout.strip().splitlines()[-1], device_map="auto" if on_gpu else "cpu", dtype="bfloat16",
        batch_size=64 if on_gpu else 16,
    )  # fmt: skip


def against_notebook(games: int) -> tuple[dict[str, float], list[str]]:
    """Figures and lines of ``games`` games, each with another keyword; both teams have the same model."""
    keywords = random.Random(0).sample(load_keywords(), games)
    players = [RobotPlayer("ours", default_robot(LockstepGenerator(_model()))), NotebookRobot(_model())]
    tournament = play_matches(players, duels(keywords))
    wins, losses, ties = tournament.win_share(0)
    low, high = wilson(wins, games)
    rounds = [len(record.teams[0].rounds) for record in tournament.records if record.winner in (0, "both")]
    mean = sum(rounds) / max(len(rounds), 1)
    figures = {"arena_win_share": wins / games, "arena_low": low, "arena_high": high, "arena_games": games,
               "arena_losses": losses, "arena_ties": ties, "arena_mean_round": mean}  # fmt: skip
    return figures, [f"ours {wins}, notebook {losses}, ties {ties} of {games}: {wins / games:.3f} "
                     f"[{low:.3f}, {high:.3f}], in {mean:.1f} rounds"]  # fmt: skip


def proposals(games: int) -> tuple[dict[str, float], list[str]]:
    """Figures and lines of ``games`` keywords that are taken out of table and vocabulary, with and without the model.

    The partner answers from the whole table without a mistake, so whatever is found was proposed by the model.
    """
    whole = _q20_tables.whole_table()
    keywords = random.Random(1).sample(load_keywords(version="1.18.0"), games)
    hidden = {index for row in keywords for name in (row.word, *row.alts) for index in whole.objects.matching(name)}
    smaller = whole.subset(np.setdiff1d(np.arange(len(whole.objects)), sorted(hidden)))
    words = _vocabulary_without([name for row in keywords for name in (row.word, *row.alts)])
    partner = TablePlayer("partner", whole)
    mute = AgentPlayer("mute", lambda obs: "no" if obs.turnType == "answer" else "Is it?")
    figures = {}
    for name, model in (("without", None), ("with", LockstepGenerator(_model()))):
        guesser = RobotPlayer(name, default_robot(model, table=smaller, vocabulary=words))
        matches = [Match(keyword, (0, 1, 2, 2)) for keyword in keywords]
        figures[f"heldout_win_{name}_proposals"] = _won(play_matches([guesser, partner, mute], matches)) / games
    figures["heldout_proposal_games"] = games
    return figures, [f"{name:32} {value:.3f}" for name, value in figures.items()]


def _vocabulary_without(names: list[str]) -> Vocabulary:
    whole = load_vocabulary()
    weights = dict(zip(whole.words, whole.probabilities.tolist(), strict=True))
    for index in {index for name in names for index in whole.matching(name)}:
        weights.pop(whole.words[index], None)
    return Vocabulary.from_weights(weights)


def _won(tournament: Tournament) -> int:
    return tournament.win_share(0)[0]
