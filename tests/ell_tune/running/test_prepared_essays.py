"""The shared preparation, on a real Ray, and after the process that prepares was killed."""

import os
import signal
from collections.abc import Iterator

import fake_trainable
import pytest
import ray

from ell_tune.errors import UserError
from ell_tune.running.prepared_essays import PreparedEssays
from ell_tune.running.ray_cluster import connected

LONG = 250_000  # characters: more than the 100 KiB up to which Ray sends an argument along with the call


@pytest.fixture(scope="module", autouse=True)
def joined_ray(ray_address: str) -> Iterator[None]:
    with connected(ray_address):
        yield


def test_essays_of_any_size_are_prepared_again_after_their_process_was_killed_and_ray_warns_of_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    prepared_essays = PreparedEssays("fake_trainable", ["short", "a" * LONG])
    preparation = fake_trainable.Preparation(fails=False)
    assert prepared_essays.get(preparation).tolist() == [5, LONG]
    pid = ray.get(prepared_essays._preparer.__ray_call__.remote(lambda preparer: os.getpid()))
    os.kill(pid, signal.SIGKILL)
    assert prepared_essays.get(preparation).tolist() == [5, LONG]
    assert ray.get(prepared_essays._preparer.__ray_call__.remote(lambda preparer: os.getpid())) != pid
    prepared_essays.close()
    assert "constructor arguments in the object store" not in capfd.readouterr().err


def test_what_the_trainable_refuses_is_told_as_it_was_told() -> None:
    prepared_essays = PreparedEssays("fake_trainable", ["short"])
    with pytest.raises(UserError, match=r"^no tokenizer can be had$"):
        prepared_essays.get(fake_trainable.Preparation(fails=True))
    prepared_essays.close()
