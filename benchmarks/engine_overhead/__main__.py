"""What a trial and a report cost the driver, and how that grows: our engine, and plain `tune.Tuner`.

Every run has a process of its own, and nothing is trained, so all that is measured is overhead.

    python -m benchmarks.engine_overhead --trials 10000
"""

import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.engine_overhead.readings import Reading, read_readings


@dataclass(frozen=True)
class Overhead:
    """What the issue of the engine's scale asks for. `few` is a tenth of `trials`."""

    seconds_per_trial: float  # wall time of a run, imports and all, over its trials
    plain_seconds_per_trial: float
    trial_ratio: float
    trials: int
    ms_per_report: float  # CPU time of the driver over the first `few` trials
    plain_ms_per_report: float  # of plain Tune with its actors reused, over as many
    report_ratio: float
    last_ms_per_report: float  # over the last `few` trials
    growth_mib: float  # of the driver's resident memory from `few` trials to all
    resume_seconds: float  # from reading the request to the first trial, without Ray's start


def run_ours(folder: Path, trials: int, reports: int, marks: list[int], sampler: str) -> float:
    """See `benchmarks.engine_overhead.ours.run`."""
    code = (
        # Before Ray is imported.
        "from ell_tune.running.ray_environment import set_ray_environment; set_ray_environment(None); "
        "from pathlib import Path; from benchmarks.engine_overhead.ours import run; "
        f"print(run(Path({str(folder)!r}), {trials}, {reports}, {marks}, {sampler!r}))"
    )
    return float(_output(code).splitlines()[-1])


def run_plain(folder: Path, trials: int, reports: int, marks: list[int], reuse_actors: bool) -> None:
    """See `benchmarks.engine_overhead.plain.run`."""
    _output(
        "from pathlib import Path; from benchmarks.engine_overhead.plain import run; "
        f"run(Path({str(folder)!r}), {trials}, {reports}, {marks}, {reuse_actors})"
    )


def _output(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout


def measure(trials: int, startup_trials: int, pairs: int, reports: int, sampler: str) -> Overhead:
    """Runs both sides: pairs of short runs with real imports, then one long run of each."""
    ours, plain = [], []
    for _ in range(pairs):
        with tempfile.TemporaryDirectory() as scratch:
            run_ours(Path(scratch), startup_trials, reports, [startup_trials], sampler)
            ours.append(read_readings(Path(scratch, "readings.json"))[-1].wall_seconds / startup_trials)
        with tempfile.TemporaryDirectory() as scratch:
            run_plain(Path(scratch), startup_trials, reports, [startup_trials], reuse_actors=False)
            plain.append(read_readings(Path(scratch, "readings.json"))[-1].wall_seconds / startup_trials)
    few = trials // 10
    with tempfile.TemporaryDirectory() as scratch:
        run_plain(Path(scratch), few, reports, [few], reuse_actors=True)
        plain_start, plain_few = read_readings(Path(scratch, "readings.json"))
    with tempfile.TemporaryDirectory() as scratch:
        run_ours(Path(scratch), trials, reports, [few, trials - few, trials], sampler)
        start, at_few, before_last, at_end = read_readings(Path(scratch, "readings.json"))
        resume_seconds = run_ours(Path(scratch), trials + 1, reports, [], sampler)
    ms, plain_ms = _ms_per_report(start, at_few), _ms_per_report(plain_start, plain_few)
    return Overhead(
        seconds_per_trial=statistics.median(ours),
        plain_seconds_per_trial=statistics.median(plain),
        trial_ratio=statistics.median(our / other for our, other in zip(ours, plain, strict=True)),
        trials=trials,
        ms_per_report=ms,
        plain_ms_per_report=plain_ms,
        report_ratio=ms / plain_ms,
        last_ms_per_report=_ms_per_report(before_last, at_end),
        growth_mib=at_end.resident_mib - at_few.resident_mib,
        resume_seconds=resume_seconds,
    )


def _ms_per_report(earlier: Reading, later: Reading) -> float:
    return 1e3 * (later.cpu_seconds - earlier.cpu_seconds) / (later.reports - earlier.reports)


def main(
    trials: Annotated[int, typer.Option(min=10, help="of the long run; plain Tune makes a tenth of it")] = 3000,
    startup_trials: Annotated[int, typer.Option(min=1, help="of each short run")] = 16,
    pairs: Annotated[int, typer.Option(min=1, help="of short runs, ours and plain")] = 3,
    reports: Annotated[int, typer.Option(min=1, help="evaluations of each trial")] = 8,
    sampler: Annotated[str, typer.Option(help="random or tpe: a model's own time grows with the trials")] = "random",
    as_json: Annotated[bool, typer.Option("--json", help="the figures as one object")] = False,
) -> None:
    """Measures what the engine costs, against plain Tune."""
    found = measure(trials, startup_trials, pairs, reports, sampler)
    if as_json:
        print(json.dumps(asdict(found)))
        return
    few = trials // 10
    print(
        f"seconds per trial    ours {found.seconds_per_trial:.2f}   plain {found.plain_seconds_per_trial:.2f}   "
        f"×{found.trial_ratio:.2f} ({startup_trials} trials, imports of torch and transformers)\n"
        f"ms CPU per report    ours {found.ms_per_report:.2f}   plain {found.plain_ms_per_report:.2f}   "
        f"×{found.report_ratio:.2f} (first {few} trials)\n"
        f"                     ours {found.last_ms_per_report:.2f} (last {few} of {trials} trials)\n"
        f"resident memory      {found.growth_mib:+.0f} MiB from {few} to {trials} trials\n"
        f"resuming             {found.resume_seconds:.1f} s with {trials} trials"
    )


if __name__ == "__main__":
    typer.run(main)
