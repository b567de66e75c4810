"""Loading a trainable by its dotted name."""

from pathlib import Path

import fake_trainable
import pytest

from ell_tune.errors import UserError
from ell_tune.trainable import load_trainable


def test_loads_a_module_with_the_five_names() -> None:
    assert load_trainable("fake_trainable") is fake_trainable  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("name", ["no_such_module", "no_such_package.module"])
def test_refuses_a_module_that_is_not_there(name: str) -> None:
    missing = name.partition(".")[0]
    with pytest.raises(UserError, match=rf"there is no module '{missing}' \(got '{name}'\).*PYTHONPATH"):
        load_trainable(name)


@pytest.mark.parametrize("name", ["", ".fake_trainable", "fake_trainable.py.", "my trainable", "folder/module"])
def test_refuses_what_is_no_dotted_name(name: str) -> None:
    with pytest.raises(UserError, match=r"a dotted module name is needed, such as 'trainables.regressor', but got "):
        load_trainable(name)


def test_refuses_a_module_that_is_no_trainable_and_names_what_it_lacks() -> None:
    message = "the module 'json' must define Config, preparation, prepare, fit, predict, but it lacks Config"
    with pytest.raises(UserError, match=message):
        load_trainable("json")


def test_a_trainable_that_lacks_an_import_of_its_own_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The missing module's name begins like the trainable's.
    (tmp_path / "scorer_of_essays.py").write_text("import scorer\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'scorer'"):
        load_trainable("scorer_of_essays")
