"""The peak is that of what ran since it was forgotten."""

import numpy as np

from ell_tune.running.peak_memory import forget_peak, peak_memory


def test_the_peak_counts_what_has_been_freed_until_it_is_forgotten() -> None:
    forget_peak()
    before = peak_memory()["peak_memory_mib"]
    block = np.ones(64 * 2**20 // 8)  # 64 MiB, each page of it touched
    del block
    during = peak_memory()["peak_memory_mib"]
    assert 60 < during - before < 100
    forget_peak()
    assert peak_memory()["peak_memory_mib"] < during - 40
