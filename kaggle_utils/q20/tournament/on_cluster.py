"""A tournament over a cluster: the games of ``round_robin``, chunk by chunk on different workers.

Every game has the number, and every chunk the games, that they have in one process, so the records are the same, in
the same order, on any number of machines; a language model whose kernels differ between GPUs may differ in the last
digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

from kaggle_utils.cluster import run_on_workers
from kaggle_utils.q20.record import GameRecord
from kaggle_utils.q20.tournament.players import Player
from kaggle_utils.q20.tournament.round_robin import Match, Tournament, play_side_by_side

__all__ = ["play_matches_on_cluster"]


def play_matches_on_cluster(
    make_players: Callable[[], Sequence[Player]],
    matches: Sequence[Match],
    *,
    cluster: str | None = "local",
    chunk: int = 32,
    num_cpus: float = 1.0,
    num_gpus: float = 0.0,
    retries: int = 3,
    progress: bool = True,
) -> Tournament:
    """Play all matches and return the records, in order: those of ``play_matches(make_players(), ..., chunk=chunk)``.

    Args:
        make_players: called once on each worker; importable there, or a ``functools.partial`` of what is.
        matches: see ``random_matches`` and ``duels``.
        cluster: where, see ``kaggle_utils.cluster.connected``; a connection that is there already is used.
        chunk: games side by side, and what a worker gets at a time: several chunks a worker keep all busy to the end.
        num_cpus, num_gpus: what a worker occupies.
        retries: how often a chunk is played again when its worker dies.
        progress: show a bar; it moves with every chunk.

    Raises:
        ValueError: ``chunk`` is below 1.
        ClusterTaskError: some chunks failed, for example because a match names a player that is not there.
    """
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}, expected 1 or more games side by side")
    parts = [(start, list(matches[start : start + chunk])) for start in range(0, len(matches), chunk)]
    played = run_on_workers(
        make_players, _play, parts, cluster=cluster, num_cpus=num_cpus, num_gpus=num_gpus, retries=retries,
        desc=f"{len(matches)} games, {chunk} at a time" if progress else None,
    )  # fmt: skip
    names: tuple[str, ...] = ()
    records: dict[int, list[GameRecord]] = {}
    with closing(played):
        for number, (names, part) in played:  # noqa: B007 - all workers have the same players
            records[number] = part
    if not parts:
        names = tuple(player.name for player in make_players())
    return Tournament(names, tuple(matches), tuple(record for number in sorted(records) for record in records[number]))


def _play(players: Sequence[Player], part: tuple[int, list[Match]]) -> tuple[tuple[str, ...], list[GameRecord]]:
    first, matches = part
    return tuple(player.name for player in players), play_side_by_side(players, matches, first=first)
