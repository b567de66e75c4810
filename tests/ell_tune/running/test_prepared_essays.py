"""The shared preparation, on a real Ray, and after the process that prepares was killed."""

import os
import signal
from collections.abc import Iterator

import fake_trainable
import pytest
import ray

from ell_tune.config import StrictConfig
from ell_tune.errors import UserError
from ell_tune.running.prepared_essays import PreparedEssays
from ell_tune.running.ray_cluster import connected

LONG = 250_000  # characters: more than the 100 KiB up to which Ray sends an argument along with the call


@pytest.fixture(scope="module", autouse=True)
def joined_ray(ray_address: str) -> Iterator[None]:
    with connected(ray_address):
        yield


def pid_of(prepared_essays: PreparedEssays) -> int:
    pid: int = ray.get(prepared_essays._preparer.__ray_call__.remote(lambda preparer: os.getpid()))
    return pid


def test_essays_of_any_size_are_prepared_again_after_their_process_was_killed_and_ray_warns_of_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    prepared_essays = PreparedEssays("fake_trainable", ["short", "a" * LONG])
    preparation = fake_trainable.Preparation(fails=False)
    assert prepared_essays.get(preparation).tolist() == [5, LONG]
    pid = pid_of(prepared_essays)
    os.kill(pid, signal.SIGKILL)
    assert prepared_essays.get(preparation).tolist() == [5, LONG]
    assert pid_of(prepared_essays) != pid
    prepared_essays.close()
    assert "constructor arguments in the object store" not in capfd.readouterr().err


def test_essays_whose_process_is_killed_before_they_are_fetched_are_prepared_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepared_essays = PreparedEssays("fake_trainable", ["short"] * LONG)
    reference, killed = prepared_essays._reference, []

    def reference_and_kill(preparation: StrictConfig) -> ray.ObjectRef:
        found = reference(preparation)
        if not killed:
            killed.append(pid_of(prepared_essays))
            os.kill(killed[0], signal.SIGKILL)
            pid_of(prepared_essays)  # it has started again
        return found

    monkeypatch.setattr(prepared_essays, "_reference", reference_and_kill)
    assert prepared_essays.get(fake_trainable.Preparation(fails=False)).tolist() == [5] * LONG
    assert pid_of(prepared_essays) != killed[0]
    prepared_essays.close()


def test_what_the_trainable_refuses_is_told_as_it_was_told() -> None:
    prepared_essays = PreparedEssays("fake_trainable", ["short"])
    with pytest.raises(UserError, match=r"^no tokenizer can be had$"):
        prepared_essays.get(fake_trainable.Preparation(fails=True))
    prepared_essays.close()
