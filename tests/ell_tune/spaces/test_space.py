"""Spaces: what is suggested encodes to the parameters that suggest it again, with and without conditions."""

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from ell_tune.spaces.space import Alternative, Choice, Numeric, OutsideDomain, Space

SIZE = Choice((Alternative("small", {"size": 1}), Alternative("wide", {"size": 2}, {"size": Numeric("int", 2, 8, 3)})))
SPACE = Space(
    base={"lr": 0.001, "seed": 7, "layers": 1, "drop": None, "flag": False, "pooling": {"name": "mean"}, "swa": None},
    domains={
        "lr": Numeric("log", 1e-5, 1e-1),
        "layers": Numeric("int", 1, 13, step=4),
        "drop": Choice(
            tuple(Alternative("off" if value is None else value, value) for value in (None, 0.1, 1, "auto"))
        ),
        "flag": Choice((Alternative(False, False), Alternative(True, True))),
        "pooling": Choice(
            (
                Alternative("mean", {"name": "mean"}),
                Alternative(
                    "lstm",
                    {"name": "lstm", "width": 2, "cell": {"size": 1}, "depth": 1},
                    {"width": Numeric("float", 0, 4), "cell": SIZE},
                ),
            )
        ),
        "swa": Choice((Alternative("off", None), Alternative("on", {"frac": 0.5}, {"frac": Numeric("float", 0.5, 1)}))),
    },
)


def draws(space: Space, num_draws: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Random configs with the Optuna parameters that made them."""
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    for _ in range(num_draws):
        trial = study.ask()
        config = space.suggest(trial)
        yield config, trial.params


def with_changes(**changes: Any) -> dict[str, Any]:
    return {**SPACE.base, **changes}


def test_encoding_a_suggestion_gives_its_parameters_and_they_the_suggestion() -> None:
    seen: set[str] = set()
    for config, params in draws(SPACE, 200):
        assert SPACE.encode(config) == params
        assert SPACE.suggest(FixedTrial(params)) == config
        seen |= params.keys()
    assert seen == set(SPACE.searched)


def test_names_every_parameter_conditions_included() -> None:
    assert SPACE.searched == (
        "lr",
        "layers",
        "drop",
        "flag",
        "pooling",
        "pooling[lstm].width",
        "pooling[lstm].cell",
        "pooling[lstm].cell[wide].size",
        "swa",
        "swa[on].frac",
    )


def test_draws_keep_what_is_fixed_and_stay_inside_their_domains() -> None:
    configs = [config for config, _ in draws(SPACE, 200)]
    assert {config["seed"] for config in configs} == {7}
    assert {config["layers"] for config in configs} == {1, 5, 9, 13}
    assert all(type(config["layers"]) is int for config in configs)
    assert {repr(config["drop"]) for config in configs} == {"None", "0.1", "1", "'auto'"}
    assert {config["flag"] for config in configs} == {False, True}
    assert all(1e-5 <= config["lr"] <= 1e-1 for config in configs)
    assert sum(config["lr"] < 1e-3 for config in configs) == pytest.approx(100, abs=20)  # half, on a log scale
    assert {config["swa"] is None for config in configs} == {False, True}
    cells = [config["pooling"]["cell"] for config in configs if config["pooling"]["name"] == "lstm"]
    assert {cell["size"] for cell in cells} == {1, 2, 5, 8}


def test_a_suggestion_shares_nothing_with_the_space() -> None:
    params = {**SPACE.encode(SPACE.base), "swa": "on", "swa[on].frac": 0.75}
    config = SPACE.suggest(FixedTrial(params))
    config["swa"]["frac"] = 99
    config["pooling"]["name"] = "changed"
    assert SPACE.suggest(FixedTrial(params))["swa"] == {"frac": 0.75}
    assert SPACE.base["pooling"] == {"name": "mean"}


@pytest.mark.parametrize(
    "config",
    [
        dict(SPACE.base),
        with_changes(lr=1e-5, layers=13, drop="auto", flag=True),
        with_changes(lr=1e-1, drop=0.1),
        with_changes(swa={"frac": 0.5}),
        with_changes(pooling={"name": "lstm", "width": 4.0, "cell": {"size": 8}, "depth": 1}),
        with_changes(pooling={"name": "lstm", "width": 0.0, "cell": {"size": 1}, "depth": 1}),
    ],
)
def test_an_enqueued_config_comes_back_exactly(config: dict[str, Any]) -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    study.enqueue_trial(SPACE.encode(config))
    assert SPACE.suggest(FixedTrial(SPACE.encode(config))) == config
    assert SPACE.suggest(study.ask()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.5}, r"^lr = 0\.5 lies outside the searched \[1e-05, 0\.1\]$"),
        ({"lr": float("nan")}, r"^lr = nan lies outside"),
        ({"lr": True}, r"^lr = True lies outside"),
        ({"lr": None}, r"^lr = None lies outside"),
        ({"layers": 17}, r"^layers = 17 lies outside the searched \[1, 13\]$"),
        ({"layers": 3}, r"^layers = 3 is not 1 plus a multiple of the step 4$"),
        ({"drop": 0.2}, r"^drop = 0\.2 is none of the searched alternatives \(off, 0\.1, 1, auto\)$"),
        ({"pooling": {"name": "max"}}, r"^pooling = {'name': 'max'} is none of .* \(mean, lstm\)$"),
        (
            {"pooling": {"name": "lstm", "width": 1, "cell": {"size": 1}, "depth": 2}},  # depth is fixed
            r"^pooling = .* is none of the searched alternatives",
        ),
        (
            {"pooling": {"name": "lstm", "width": 5, "cell": {"size": 1}, "depth": 1}},
            r"^pooling\[lstm\]\.width = 5 lies outside the searched \[0, 4\]$",
        ),
        (
            {"pooling": {"name": "lstm", "width": 1, "cell": {"size": 3}, "depth": 1}},
            r"^pooling\[lstm\]\.cell\[wide\]\.size = 3 is not 2 plus a multiple of the step 3$",
        ),
        ({"swa": {"frac": 0.1}}, r"^swa\[on\]\.frac = 0\.1 lies outside the searched \[0\.5, 1\]$"),
        ({"swa": {"frac": 0.5, "factor": 1}}, r"^swa = .* is none of the searched alternatives \(off, on\)$"),
    ],
)
def test_refuses_to_encode_what_the_search_does_not_hold(changes: Mapping[str, Any], message: str) -> None:
    with pytest.raises(OutsideDomain, match=message):
        SPACE.encode(with_changes(**changes))


def test_refuses_to_encode_a_config_whose_component_has_no_such_field() -> None:
    space = Space({"pooling": {"name": "lstm", "size": 2}}, {"pooling.size": Numeric("int", 1, 3)})
    with pytest.raises(OutsideDomain, match="^pooling.size is searched, but the config has no such field$"):
        space.encode({"pooling": {"name": "mean"}})


def test_a_value_outside_one_alternatives_range_may_be_another_alternative() -> None:
    inside = Alternative("on", {"frac": 0.5}, {"frac": Numeric("float", 0.5, 0.9)})
    space = Space(
        {"swa": None}, {"swa": Choice((Alternative("off", None), inside, Alternative("late", {"frac": 0.95})))}
    )
    assert space.encode({"swa": {"frac": 0.95}}) == {"swa": "late"}
    assert space.encode({"swa": {"frac": 0.75}}) == {"swa": "on", "swa[on].frac": 0.75}


@pytest.mark.parametrize(
    ("domains", "num_configs"),
    [
        (["layers"], 4),  # 1, 5, 9, 13
        (["layers", "drop"], 16),
        (["flag", "layers", "drop"], 32),
        (["pooling"], inf),
        (["layers", "lr"], inf),
        ([], 1),
    ],
)
def test_counts_its_configs(domains: list[str], num_configs: float) -> None:
    assert Space(SPACE.base, {name: SPACE.domains[name] for name in domains}).num_configs == num_configs


def test_counts_the_values_of_nested_choices() -> None:
    assert SIZE.num_values == 1 + 3
    both = Choice(
        (Alternative("a", {"n": 0, "cell": {}}, {"n": Numeric("int", 0, 4), "cell": SIZE}), Alternative("b", 1))
    )
    assert both.num_values == 5 * 4 + 1
    space = Space({"cell": {"size": 1}}, {"cell": SIZE})
    assert len({str(config) for config, _ in draws(space, 100)}) == space.num_configs
