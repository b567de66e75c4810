"""How the time of our training grows with the length of essays and with their number."""

import time
from typing import Literal

import numpy as np

from benchmarks.cases import BATCH_SIZE, CASES, case_config, make_fold_data, read_essays
from benchmarks.ours import OurTraining
from ell_tune.trainable import FoldData

_LENGTHS = (64, 128, 256, 512)
_COUNTS = (16, 32, 64, 128)


def essays_of_length(num_tokens: int, num_essays: int, seed: int) -> FoldData:
    """Essays of exactly `num_tokens` tokens, the special ones included: one word over and over."""
    text = " ".join(["essay"] * (num_tokens - 2))
    labels_NC = np.random.default_rng(seed).uniform(1, 5, (num_essays, 6)).astype(np.float32)
    return make_fold_data((text,) * num_essays, labels_NC, seed)


def print_growth(case: str, over: Literal["length", "count"], seed: int) -> None:
    """The seconds of one pass, each twice as large as the last, with the factor by which the time grew."""
    last = None
    for size in _LENGTHS if over == "length" else _COUNTS:
        fold_data = essays_of_length(size, 2 * BATCH_SIZE, seed) if over == "length" else _essays(size, seed)
        seconds, num_tokens = time_a_pass(case, fold_data)
        growth = f"×{seconds / last:.2f}" if last is not None else ""
        unit = "tokens" if over == "length" else "essays"
        print(f"{case:14} {size:4} {unit}: {seconds:7.2f} s   {num_tokens / seconds:6.0f} tokens/s   {growth}")
        last = seconds


def time_a_pass(case: str, fold_data: FoldData) -> tuple[float, int]:
    """The seconds and tokens of the second pass over all essays; the first one warms up."""
    num_steps = -(-len(fold_data.train_rows) // BATCH_SIZE)
    with case_config(CASES[case], num_epochs=2) as (config, weights_dir):
        training = OurTraining(config, fold_data, weights_dir)
    training.run(num_steps)
    started = time.perf_counter()
    num_tokens = training.run(num_steps)
    return time.perf_counter() - started, num_tokens


def _essays(num_essays: int, seed: int) -> FoldData:
    essays = read_essays(num_essays, seed)
    assert essays.labels_NC is not None
    return make_fold_data(essays.texts, essays.labels_NC, seed)
