"""Processes that train together: what one finds or fails at, all learn; different rows and unseen files are refused."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("accelerate")

from processes import in_two_processes

from kaggle_utils.training.fold_predict import predict_together
from kaggle_utils.training.team import Team, TeamError, join_team


def fails():
    raise OSError("no room")


def talk(rank, folder):
    team = join_team("cpu")
    assert (team.rank, team.size, team.main, team.sharded) == (rank, 2, rank == 0, False)
    assert team.gather({"at": rank}) == [{"at": 0}, {"at": 1}]
    parts = team.gather_rows(np.full((rank + 1, 2), rank, dtype=np.float32))
    assert [part.tolist() for part in parts] == [[[0, 0]], [[1, 1], [1, 1]]]
    assert team.first(lambda: ["decided by", rank]) == ["decided by", 0]
    with pytest.raises(TeamError if rank else OSError, match="no room"):
        team.first(fails)
    team.check_same({"labels": [1, 2], "seed": 3})
    with pytest.raises(TeamError, match="2 processes were given different labels, seed: every process has to make"):
        team.check_same({"labels": [rank], "seed": rank, "model": "a"})
    team.check_shared(folder)  # a folder is no file: never seen


def predict(rank, rows):
    team = join_team("cpu")
    given = []

    def logits(folder, share, device):
        given.extend(share.lengths)
        return np.array([[ids[0], len(ids)] for ids in share.ids], dtype=np.float32)

    found = predict_together(logits, rows, rows, labels=2, team=team)
    assert found.tolist() == [[ids[0], len(ids)] for ids in rows.ids]  # in the order of the rows, in both
    assert 3 <= len(given) <= 4
    with pytest.raises(ValueError if rank else TeamError, match=r"not finite|process 1: ValueError"):
        predict_together(lambda *given: np.full((len(given[1]), 2), np.nan if rank else 0), rows, rows, labels=2,
                         team=team)  # fmt: skip


def both(rank, folder, rows):
    predict(rank, rows)
    with pytest.raises(TeamError, match="is not to be seen on"):
        talk(rank, folder)


def test_two_processes_agree_and_predict_in_order(tmp_path, monkeypatch):
    from kaggle_utils.data.tokenization import TokenRows

    monkeypatch.setattr("kaggle_utils.training.team._LAG", 0)
    rows = TokenRows.of([np.arange(size, size + 30 * (size % 3) + 1, dtype=np.int32) for size in range(7)])
    assert in_two_processes(both, tmp_path, rows) == [0, 0]


def test_one_process_needs_no_launcher(tmp_path):
    team = Team()
    assert team.first(lambda: 5) == 5 and team.gather(3) == [3] and team.main
    with pytest.raises(OSError, match="no room"):
        team.first(fails)
    (tmp_path / "there").touch()
    team.check_shared(tmp_path / "there")
    team.check_same({"a": 1})


def test_the_first_version_of_fsdp_is_refused(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=r"version 1 of FSDP.*--fsdp_version 2"):
        join_team("cpu")
