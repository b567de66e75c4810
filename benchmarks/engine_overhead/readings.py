"""What a driver process has used so far, read each time that a number of trials has ended."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reading:
    """The driver once `trials` trials have ended and `reports` evaluations been told. Seconds since its run began."""

    trials: int
    reports: int
    wall_seconds: float
    cpu_seconds: float  # of all threads of the driver process
    resident_mib: float


class Readings:
    """Counts, and takes a reading at the start and at each of `marks` (numbers of ended trials)."""

    def __init__(self, marks: Sequence[int]) -> None:
        self._marks = set(marks)
        self._trials = self._reports = 0
        self._wall, self._cpu = time.monotonic(), time.process_time()
        self._taken = [self._read()]

    def count_report(self) -> None:
        self._reports += 1

    def count_end(self) -> None:
        self._trials += 1
        if self._trials in self._marks:
            self._taken.append(self._read())

    def write(self, path: Path) -> None:
        path.write_text(json.dumps([asdict(reading) for reading in self._taken]))

    def _read(self) -> Reading:
        num_pages = int(Path("/proc/self/statm").read_text().split()[1])
        return Reading(
            trials=self._trials,
            reports=self._reports,
            wall_seconds=time.monotonic() - self._wall,
            cpu_seconds=time.process_time() - self._cpu,
            resident_mib=num_pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        )


def read_readings(path: Path) -> list[Reading]:
    return [Reading(**reading) for reading in json.loads(path.read_text())]
