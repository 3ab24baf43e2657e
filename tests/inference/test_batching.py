"""Order, sizes and out-of-memory of batches."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from kaggle_utils.inference.batching import left_pad, run_in_batches  # noqa: E402


class SmallGPU:
    """Computes lengths, and is out of memory above ``most`` items at once."""

    def __init__(self, most):
        self.most, self.sizes = most, []

    def __call__(self, batch):
        self.sizes.append(len(batch))
        if len(batch) > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return [len(item) for item in batch]


ITEMS = ["a" * n for n in (3, 1, 4, 1, 5, 9, 2, 6)]


@pytest.mark.parametrize("most", [1, 2, 3, 8])
def test_out_of_memory_halves_the_batch_and_keeps_every_result_in_order(most):
    gpu = SmallGPU(most)
    assert run_in_batches(ITEMS, gpu, batch_size=8) == [len(item) for item in ITEMS]
    good = [size for size in gpu.sizes if size <= most]
    assert sum(good) == len(ITEMS), "items computed twice"
    assert gpu.sizes.count(8) <= 1, "the size that failed was tried again"


def test_one_item_that_does_not_fit_is_an_error():
    with pytest.raises(torch.cuda.OutOfMemoryError):
        run_in_batches(ITEMS, SmallGPU(0), batch_size=8)


def test_other_errors_are_not_taken_for_lack_of_memory():
    def fail(batch):
        raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side assert"):
        run_in_batches(ITEMS, fail, batch_size=8)


def test_the_longest_come_first_so_that_memory_runs_out_at_once_or_never():
    seen = []

    def run(batch):
        seen.append([len(item) for item in batch])
        return batch

    assert run_in_batches(ITEMS, run, batch_size=3) == ITEMS
    assert seen == [[9, 6, 5], [4, 3, 2], [1, 1]]


def test_nothing_gives_nothing_and_bad_sizes_are_errors():
    assert run_in_batches([], SmallGPU(1), batch_size=4) == []
    with pytest.raises(ValueError, match="batch_size is 0"):
        run_in_batches(ITEMS, SmallGPU(1), batch_size=0)
    with pytest.raises(ValueError, match="gave 1 results"):
        run_in_batches(ITEMS, lambda batch: [0], batch_size=4)


def test_padding_is_on_the_left():
    ids, mask = left_pad([[7, 8, 9], [5]], pad_id=2)
    assert ids.tolist() == [[7, 8, 9], [2, 2, 5]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
