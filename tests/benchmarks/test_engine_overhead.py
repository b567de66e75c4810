"""The benchmark of the engine's overhead: what it counts, and a small run of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.engine_overhead.readings import Reading, Readings, read_readings

ROOT = Path(__file__).parents[2]


def test_readings_are_taken_at_the_start_and_at_the_marks(tmp_path: Path) -> None:
    readings = Readings([2, 3])
    ballast = b"x" * 2**25
    for _ in range(3):
        readings.count_report()
        readings.count_report()
        readings.count_end()
    readings.write(tmp_path / "readings.json")
    start, second, third = read_readings(tmp_path / "readings.json")
    assert [(r.trials, r.reports) for r in (start, second, third)] == [(0, 0), (2, 4), (3, 6)]
    assert third.resident_mib - start.resident_mib > 0.9 * len(ballast) / 2**20
    assert 0 <= start.cpu_seconds <= second.cpu_seconds <= third.cpu_seconds
    assert isinstance(third, Reading)


@pytest.mark.slow
def test_a_small_run_measures_both_sides() -> None:
    options = ["--trials", "20", "--startup-trials", "2", "--pairs", "1", "--reports", "2", "--json"]
    command = [sys.executable, "-m", "benchmarks.engine_overhead", *options]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = json.loads(output)
    assert found["trials"] == 20
    assert found["trial_ratio"] == pytest.approx(found["seconds_per_trial"] / found["plain_seconds_per_trial"])
    assert found["report_ratio"] == pytest.approx(found["ms_per_report"] / found["plain_ms_per_report"])
    assert min(found[name] for name in ("seconds_per_trial", "last_ms_per_report", "resume_seconds")) > 0
