import os
import subprocess
import sys
from pathlib import Path

import pytest

from ell_tune.errors import UserError
from ell_tune.studies.study_lock import hold_study, is_held

_HOLD = """
import sys, time
from pathlib import Path
from ell_tune.studies.study_lock import hold_study
with hold_study(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""

_ASK = """
import sys
from pathlib import Path
from ell_tune.studies.study_lock import is_held
print("asking", flush=True)
while True:
    is_held(Path(sys.argv[1]))
"""


def test_a_second_process_is_refused_and_told_who_holds_the_study(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=rf"it is held by process {holder.pid} on host .*give another --study"):
        with hold_study(tmp_path):
            pass
    assert is_held(tmp_path)
    holder.kill()  # as `kill -9` does: the lock of a dead holder is free
    holder.wait()
    holder.stdout.close()
    assert not is_held(tmp_path)
    with hold_study(tmp_path):
        assert is_held(tmp_path)
        assert f'"pid": {os.getpid()}' in (tmp_path / "holder.json").read_text()


def test_who_asks_whether_a_study_is_held_keeps_no_search_from_starting(tmp_path: Path) -> None:
    with hold_study(tmp_path):
        pass
    asking = subprocess.Popen([sys.executable, "-c", _ASK, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert asking.stdout is not None and asking.stdout.readline() == "asking\n"
    for _ in range(500):
        with hold_study(tmp_path):
            pass
    asking.kill()
    asking.wait()
    asking.stdout.close()


def test_a_study_that_was_never_searched_is_not_held(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
