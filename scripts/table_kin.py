"""What nobody said of a noun, taken from the keywords nearest to it in WordNet.

A person filled in a card for every keyword, so a trait that is missing there is a no; of other nouns a missing trait
only means that nobody wrote it down. Among keywords under the same concept, the share of those that have the trait
says how much the silence is worth: nothing is said of an umbrella being outdoors, but of tents and awnings it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from table_objects import Entry
from table_wordnet import WordNet

__all__ = ["kin_answers", "kin_shares"]

LEAST, MOST = 4, 80
"""Keywords under a concept: fewer say little, more have little in common."""
_DOUBT = 3.0  # unlike keywords, in units of keywords, that are added to those found
_SHARE, _WORTH = (0.0, 0.05, 0.1, 0.25, 0.4, 0.5), (0.05, 0.05, 0.08, 0.15, 0.22, 0.3)
"""P(yes) by share, as found with the cards of 578 keywords held back one by one (.05 of the share .05 to .1 were yes,
.08 of .1 to .15, .16 of .2 to .4, .21 of .4 to .5, .35 of .5 to .6): silence beside kin that has it is still a no."""


def kin_shares(wordnet: WordNet, entries: Sequence[Entry], yes: np.ndarray, *, leave_out: bool = False) -> np.ndarray:
    """Share of the nearest keywords that have each trait, float32 [T, N]; 0 where there are no near ones.

    ``yes`` is bool [T, N]. ``leave_out`` leaves each keyword out of its own estimate, to measure what it is worth.
    Cost: O(N · depth · T).
    """
    counts: dict[str, int] = {}
    sums: dict[str, np.ndarray] = {}
    for index, entry in enumerate(entries):
        if entry.card and entry.synset is not None:
            for offset in wordnet.ancestors(entry.synset):
                counts[offset] = counts.get(offset, 0) + 1
                sums[offset] = sums.get(offset, 0) + yes[:, index].astype(np.float32)
    shares = np.zeros(yes.shape, np.float32)
    for index, entry in enumerate(entries):
        if entry.synset is None:
            continue
        own = int(leave_out and bool(entry.card))
        for offset, _ in sorted(wordnet.ancestors(entry.synset).items(), key=lambda item: item[1]):
            count = counts.get(offset, 0) - own
            if count > MOST:
                break
            if count >= LEAST:
                shares[:, index] = (sums[offset] - own * yes[:, index]) / (count + _DOUBT)
                break
    return shares


def kin_answers(wordnet: WordNet, entries: Sequence[Entry], columns: np.ndarray, unsaid: np.ndarray) -> np.ndarray:
    """Return ``columns`` float32 [T, N] with the cells in ``unsaid`` bool [T, N] of all nouns but keywords filled."""
    shares = kin_shares(wordnet, entries, columns > 0.5)
    filled = np.interp(shares, _SHARE, _WORTH).astype(np.float32)
    others = np.array([entry.card is None and entry.place is None for entry in entries])
    return np.where(unsaid & others & (shares > _SHARE[1]), filled, columns)
