"""Words that the table does not hold: how surely a game shows it, what is won, and how many words are known at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import _q20_tables
import numpy as np
from _report import ROOT

from kaggle_utils.q20.questioner.batch import BatchQuestioner
from kaggle_utils.q20.tournament.noise import Noise, NoisyAnswerer
from kaggle_utils.q20.tournament.simulate import simulate
from kaggle_utils.q20.vocabulary import load_vocabulary

__all__ = ["coverage", "detection"]

_SHARE = 0.2
_CHUNK = 500
_LISTS = (
    "animals/common", "foods/fruits", "foods/vegetables", "humans/bodyParts", "materials/metals", "music/instruments",
    "objects/clothing", "objects/containers", "objects/objects", "plants/flowers",
)  # fmt: skip


class _Watched(BatchQuestioner):
    """Notes what it thinks before it guesses: a guess rules out its own object."""

    def guess(self) -> np.ndarray:
        self.before_guess = self.out_of_vocabulary
        return super().guess()


def detection(games: int, *, flip: float) -> tuple[dict[str, float], list[str]]:
    """Figures and lines: a fifth of the 1,128 keywords is taken out of the table, and every keyword may be drawn.

    Detection is the area under the curve of the out-of-vocabulary mass after twenty answers. Wins are those of a free
    guess every round; without proposals a word that is not in the table cannot be guessed.
    """
    table = _q20_tables.load("keywords")
    random = np.random.default_rng(5)
    outside = random.random(len(table.objects)) < _SHARE
    kept = np.flatnonzero(~outside)
    smaller, classes = table.subset(kept), table.objects.match_class
    hidden = outside & ~np.isin(classes, classes[kept])
    masses, truths, won = [], [], []
    answerer = NoisyAnswerer(table, Noise(flip=flip))
    for start in range(0, games, _CHUNK):
        truth = random.integers(0, len(table.objects), min(_CHUNK, games - start))
        for free in (False, True):
            questioner = _Watched(
                smaller, games=len(truth), flip=flip, out_of_vocabulary=_SHARE, free_guess=free,
                prior=np.ones(len(kept)), seed=start,
            )  # fmt: skip
            played = simulate(questioner, truth, answerer, free_guess=free, classes=(classes[kept], classes))
            if free:
                won.append(played.won_round > 0)
            else:
                masses.append(questioner.before_guess)
        truths.append(truth)
    mass, lost, wins = np.concatenate(masses), hidden[np.concatenate(truths)], np.concatenate(won)
    name = f"{100 * flip:.0f}"
    figures = {
        f"heldout_auroc_{name}": _auroc(mass, lost), f"heldout_win_known_{name}": float(wins[~lost].mean()),
        f"heldout_win_hidden_{name}": float(wins[lost].mean()), f"heldout_win_{name}": float(wins.mean()),
    }  # fmt: skip
    return figures, [
        f"flip {name} %: a hidden word is told from a known one with AUROC {figures[f'heldout_auroc_{name}']:.3f}; won "
        f"{wins[~lost].mean():.3f} of the known, {wins[lost].mean():.3f} of the hidden"
    ]


def coverage() -> tuple[dict[str, float], list[str]]:
    """Share of lists of common nouns (corpora, CC0) that the table and the vocabulary know, as guesses are compared."""
    shared = Path(os.environ.get("KAGGLE_UTILS_SHARED_DATA", ROOT.parent / "shared" / "data"))
    path = shared / "q20" / "corpora_lists.json"
    if not path.exists():
        return {}, [f"coverage: skipped, there is no {path.name} beside the checkout"]
    lists = json.loads(path.read_text(encoding="utf-8"))
    words = sorted({word.lower() for name in _LISTS if name in lists for word in _words(lists[name])})
    objects, vocabulary = _q20_tables.whole_table().objects, load_vocabulary()
    in_table = sum(objects.index_of(word) is not None for word in words) / len(words)
    in_vocabulary = sum(bool(vocabulary.matching(word)) for word in words) / len(words)
    figures = {"coverage_table": in_table, "coverage_vocabulary": in_vocabulary}
    return figures, [f"of {len(words)} common nouns {in_table:.1%} are in the table ({len(objects)} objects), "
                     f"{in_vocabulary:.1%} in the vocabulary ({len(vocabulary)} words)"]  # fmt: skip


def _words(entry: object) -> list[str]:
    """The longest list of texts in an entry."""
    rows = [row for row in entry.values() if isinstance(row, list)] if isinstance(entry, dict) else [entry]
    texts = [[word for word in row if isinstance(word, str)] for row in rows if isinstance(row, list)]
    return max(texts, key=len, default=[])


def _auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the receiver operating curve; ties count a half."""
    _, ranks, counts = np.unique(score, return_inverse=True, return_counts=True)
    upper = np.cumsum(counts)
    middle = (upper - counts + 1 + upper) / 2
    total = float(middle[ranks][positive].sum())
    ones, zeros = int(positive.sum()), int((~positive).sum())
    return (total - ones * (ones + 1) / 2) / (ones * zeros)
