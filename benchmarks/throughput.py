"""Non-padding tokens per second of training: ours, and `transformers.Trainer` with its defaults.

Both train the same model on the same essays in the same precision, in blocks of steps that alternate in one process, so
that what else the machine does meets both alike. A block is a pass over all essays, and a pair's ratio compares a
block with the one after it. The first pair warms up and does not count.

    python -m benchmarks.throughput --case minilm --pairs 7
"""

import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import torch
import typer

from benchmarks.cases import BATCH_SIZE, CASES, build_peer_model, case_config, make_fold_data, read_essays
from benchmarks.growth import print_growth
from benchmarks.ours import OurTraining
from benchmarks.peer import train_with_trainer, wait_for_gpu
from ell_tune.trainable import FoldData

Side = Literal["ours", "peer"]
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Result:
    """Medians over the pairs, in tokens per second; `ratio` is the median of the pairs' ratios."""

    case: str
    ours: float
    peer: float
    ratio: float


def essays_of_a_block(steps: int, seed: int) -> FoldData:
    """The essays that both sides see in every block."""
    essays = read_essays(steps * BATCH_SIZE, seed)
    assert essays.labels_NC is not None
    return make_fold_data(essays.texts, essays.labels_NC, seed)


def compare(case: str, steps: int, pairs: int, seed: int, precision: Precision) -> Result:
    """Trains both sides of a case, block by block."""
    fold_data = essays_of_a_block(steps, seed)
    with case_config(CASES[case], num_epochs=pairs + 1, precision=precision) as (config, weights_dir):
        ours = OurTraining(config, fold_data, weights_dir)
        speeds: list[tuple[float, float]] = []

        def after_block(peer_tokens: int, peer_seconds: float) -> None:
            started = time.perf_counter()
            our_tokens = ours.run(steps)
            wait_for_gpu()
            our_seconds = time.perf_counter() - started
            assert our_tokens == peer_tokens  # the same essays
            speeds.append((our_tokens / our_seconds, peer_tokens / peer_seconds))

        train_with_trainer(config, fold_data, build_peer_model(config, fold_data), steps, after_block)
    return summarise(case, speeds[1:])


def summarise(case: str, speeds: list[tuple[float, float]]) -> Result:
    """The medians of pairs of speeds (ours, peer)."""
    ours, peer = zip(*speeds, strict=True)
    ratio = statistics.median(our / other for our, other in speeds)
    return Result(case, statistics.median(ours), statistics.median(peer), ratio)


def train_alone(case: str, side: Side, steps: int, seed: int) -> None:
    """Two blocks of one side only: what a process is measured by."""
    fold_data = essays_of_a_block(steps, seed)
    with case_config(CASES[case], num_epochs=2) as (config, weights_dir):
        if side == "ours":
            OurTraining(config, fold_data, weights_dir).run(2 * steps)
        else:
            train_with_trainer(config, fold_data, build_peer_model(config, fold_data), steps, lambda *_: None)


def peak_memory_mib(case: str, side: Side, steps: int, seed: int, threads: int) -> float:
    """The largest resident memory of a process that trains one side."""
    call = f"train_alone({case!r}, {side!r}, {steps}, {seed})"
    code = (
        f"import resource, torch; torch.set_num_threads({threads}); from benchmarks.throughput import train_alone; "
        f"{call}; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return float(output.splitlines()[-1])


def main(
    case: Annotated[list[str], typer.Option(help=f"one or more of {', '.join(CASES)}")] = list(CASES),  # noqa: B006
    steps: Annotated[int, typer.Option(min=1, help=f"steps per block, of {BATCH_SIZE} essays")] = 8,
    pairs: Annotated[int, typer.Option(min=1, help="blocks of each side that count")] = 5,
    seed: Annotated[int, typer.Option(help="of essays, weights and shuffling")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="of torch")] = torch.get_num_threads(),
    precision: Annotated[Precision, typer.Option(help="of both sides")] = "fp32",
    as_json: Annotated[bool, typer.Option("--json", help="a list of {case, ours, peer, ratio}")] = False,
    memory: Annotated[bool, typer.Option(help="the peak memory of both sides instead")] = False,
    by_length: Annotated[bool, typer.Option(help="our time against the length of essays instead")] = False,
    by_count: Annotated[bool, typer.Option(help="our time against the number of essays instead")] = False,
) -> None:
    """Measures training throughput against transformers.Trainer."""
    if unknown := sorted(set(case) - CASES.keys()):
        raise typer.BadParameter(f"there is no case {', '.join(unknown)}. Choose from {', '.join(CASES)}.")
    torch.set_num_threads(threads)
    if by_length or by_count:
        for name in case:
            print_growth(name, "length" if by_length else "count", seed)
        return
    if memory:
        for name in case:
            ours, peer = (peak_memory_mib(name, side, steps, seed, threads) for side in ("ours", "peer"))
            print(f"{name:14} ours {ours:6.0f} MiB   Trainer {peer:6.0f} MiB   ratio {ours / peer:.2f}")
        return
    results = [compare(name, steps, pairs, seed, precision) for name in case]
    if as_json:
        print(json.dumps([asdict(result) for result in results]))
        return
    for result in results:
        print(f"{result.case:14} ours {result.ours:6.0f}   Trainer {result.peer:6.0f} tokens/s   ×{result.ratio:.2f}")


if __name__ == "__main__":
    typer.run(main)
