"""Space files: what they mean, and that every mistake is told with its file, line, path, value and way out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_trainable import Config

from ell_tune.choosing.asha import AshaConfig
from ell_tune.choosing.samplers import RandomConfig, TpeConfig
from ell_tune.choosing.search_spec import SearchSpec, StudyConfig, load_search_spec
from ell_tune.config import validate
from ell_tune.errors import UserError
from ell_tune.tracking import TrackingConfig

Load = Callable[..., SearchSpec]
DEFAULTS = Config().model_dump()
SHAPE = "shape: {choice: [{name: plain}, {name: curved, power: {float: [1, 3]}}]}"
SEARCH = f"""\
search:
  x: {{float: [0, 5]}}
  {SHAPE}
  bonus: {{choice: [off, {{amount: {{float: [0, 1]}}}}]}}
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a space file whose first line names the fake trainable."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str, *settings: str) -> SearchSpec:
        Path("space.yaml").write_text(f"trainable: fake_trainable\n{text}")
        return load_search_spec(Path("space.yaml"), settings)

    return load_text


def test_reads_every_section(load: Load) -> None:
    spec = load(
        """
data: {targets: [grammar, syntax], min_score: 0.0}
study:
  seed: 1
  scheduler.grace_frac: 0.25
  scheduler.name: asha
  sampler: {name: random}
tracking: {name: wandb, project: essays}
base: {evaluations: 8, bonus.amount: 1e-1}
search:
  x: {float: [-1, 1]}
  y: {int: [0, 4], step: 2, default: 2}
enqueue:
  - {x: 1}
  - {}
  - {y: 4, x: -1}
  - {x: 1.0}
"""
    )
    assert (spec.trainable_name, spec.trainable.Config) == ("fake_trainable", Config)
    assert (spec.data.targets, spec.data.min_score, spec.data.max_score) == (["grammar", "syntax"], 0.0, 5.0)
    assert (spec.study.seed, spec.study.num_folds, spec.study.sampler) == (1, 5, RandomConfig())
    assert spec.study.scheduler == AshaConfig(grace_frac=0.25)
    assert spec.tracking == TrackingConfig(name="wandb", project="essays")
    assert spec.space.base == {**DEFAULTS, "evaluations": 8, "bonus": {"amount": 0.1}, "y": 2}
    assert spec.space.searched == ("x", "y")
    # The base config first, and nothing twice.
    assert [(config["x"], config["y"]) for config in spec.enqueue] == [(0.0, 2), (1.0, 2), (-1.0, 4)]
    assert spec.document["base"] == {"evaluations": 8, "bonus.amount": 0.1}
    assert json.loads(json.dumps(spec.document)) == spec.document


def test_what_is_left_out_has_its_default(load: Load) -> None:
    spec = load("")
    assert (spec.study.sampler, spec.study.scheduler, spec.tracking) == (TpeConfig(), AshaConfig(), None)
    assert (spec.space.base, spec.space.searched, spec.enqueue) == (DEFAULTS, (), (DEFAULTS,))


@pytest.mark.parametrize("off", ["off", "'off'", "null", "false"])
def test_early_stopping_and_tracking_can_be_off(load: Load, off: str) -> None:
    spec = load(f"study: {{scheduler: {off}}}\ntracking: {off}")
    assert spec.study.scheduler is None and spec.tracking is None


@pytest.mark.parametrize(
    ("entry", "changed"),
    [
        ("x: 2", {"x": 2.0}),
        ("shape: {name: curved}", {"shape": {"name": "curved", "power": 2.0}}),
        ("{shape.name: curved, shape.power: 3}", {"shape": {"name": "curved", "power": 3.0}}),
        ("bonus: {}", {"bonus": {"amount": 0.1}}),
        ("bonus.amount: 1", {"bonus": {"amount": 1.0}}),
        ("{x: 5, bonus: off, evaluations: 4}", {"x": 5.0}),  # to set a fixed field to its value is no change
    ],
)
def test_an_enqueued_config_changes_the_base_config(load: Load, entry: str, changed: dict[str, Any]) -> None:
    spec = load(f"{SEARCH}enqueue:\n  - {entry}\n")
    assert spec.enqueue == (DEFAULTS, {**DEFAULTS, **changed})


def test_another_component_starts_from_its_own_defaults(load: Load) -> None:
    spec = load("search: {shape: {choice: [{name: plain}, {name: curved, power: {float: [1, 3]}}], default: curved}}\n"
                "enqueue: [{shape.power: 3}, {shape.name: plain}]")  # fmt: skip
    curved = [{"name": "curved", "power": power} for power in (2.0, 3.0)]
    assert [config["shape"] for config in spec.enqueue] == [*curved, {"name": "plain"}]


@pytest.mark.parametrize(
    ("settings", "searched", "changed"),
    [
        (["x=9"], ("shape", "shape[curved].power", "bonus", "bonus[on].amount"), {"x": 9.0}),  # beyond the search
        (
            ["shape={name: curved, power: 4}"],
            ("x", "bonus", "bonus[on].amount"),
            {"shape": {"name": "curved", "power": 4.0}},
        ),
        (["shape.name=curved"], ("x", "bonus", "bonus[on].amount"), {"shape": {"name": "curved", "power": 2.0}}),
        (["bonus=off"], ("x", "shape", "shape[curved].power"), {}),
        (["bonus.amount=.5"], ("x", "shape", "shape[curved].power"), {"bonus": {"amount": 0.5}}),
        (["bonus.amount=.5", "bonus=off"], ("x", "shape", "shape[curved].power"), {}),
        (["bonus=off", "bonus.amount=.5"], ("x", "shape", "shape[curved].power"), {"bonus": {"amount": 0.5}}),
        (["bonus={}", "x=1", "shape={name: plain}"], (), {"bonus": {"amount": 0.1}, "x": 1.0}),
    ],
)
def test_a_setting_pins_what_was_searched_in_every_config(
    load: Load, settings: list[str], searched: tuple[str, ...], changed: dict[str, Any]
) -> None:
    enqueued = "{x: 2, shape: {name: curved, power: 3}, bonus: {amount: 1}}"
    spec = load(f"{SEARCH}enqueue: [{enqueued}]", *settings)
    assert spec.space.searched == searched
    assert spec.space.base == {**DEFAULTS, **changed}
    other = {"x": 2.0, "shape": {"name": "curved", "power": 3.0}, "bonus": {"amount": 1.0}}
    pinned = {setting.partition("=")[0].partition(".")[0] for setting in settings}
    expected = {**spec.space.base, **{field: value for field, value in other.items() if field not in pinned}}
    assert spec.enqueue == ((spec.space.base, expected) if expected != spec.space.base else (spec.space.base,))


def test_settings_reach_the_other_sections_and_the_studys_memory(load: Load) -> None:
    spec = load("study: {seed: 1, num_folds: 3}", "study.seed=7", "data.targets=[a]", "evaluations=2", "tracking=off")
    assert (spec.study.seed, spec.study.num_folds, spec.data.targets) == (7, 3, ["a"])
    assert spec.space.base["evaluations"] == 2
    assert spec.document["study"] == {"seed": 7, "num_folds": 3}
    assert spec.document["base"] == {"evaluations": 2}


def test_a_component_that_base_switches_on_may_be_searched_inside(load: Load) -> None:
    for base in ("{bonus: {}}", "{bonus: {amount: 0.5}, x: 1}"):
        text = f"base: {base}\nsearch: {{bonus.amount: {{float: [0, 1]}}}}"
        if base == "{bonus: {}}":
            assert load(text).space.base["bonus"] == {"amount": 0.1}
        else:
            with pytest.raises(UserError, match="both search.bonus.amount and base.bonus.amount set it"):
                load(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base:\n  xx: 1", "line 3: base.xx: there is no such field. Did you mean x?"),
        ("base: {shape: {name: plain, power: 1}}",
         "line 2: base.shape.power: plain has no such field, but curved has. What plain has: no field but its "
         "name."),
        ("base: {x: 11}", "line 2: base.x: must be a number, at least -10 and at most 10, got 11."),
        ("base:\n  bonus.amount: 2", "line 3: base.bonus.amount: must be a number, at least 0 and at most 1, got 2."),
        ("base: {x: 1, x: 2}", "line 2: a value may be given once, but base.x is already given on line 2; "
         "remove one of them. Correct the YAML there."),
        ("study: {sed: 1}", "line 2: study.sed: there is no such field. Did you mean seed?"),
        ("study:\n  fold: 5", "line 3: study.fold must be below study.num_folds, got 5 of 5."),
        ("study: {scheduler.grace_frac: 2, scheduler.name: asha}",
         "line 2: study.scheduler.grace_frac: must be a number, at least 0.01 and at most 1, got 2."),
        (
            "study: {sampler: {name: grid}}",
            "line 2: study.sampler: `name` must be one of 'tpe', 'gp', 'cma_es', 'nsga2', 'qmc', 'random', got 'grid'.",
        ),
        ("data: {min_score: 6.0}",
         "line 2: data: min_score must be below max_score, but got min_score=6.0 and max_score=5.0."),
        ("tracking: {}", "line 2: tracking.name: this field must be given, but it is missing."),
        ("search:\n  xx: {int: [0, 1]}", "line 3: search.xx: there is no such field. Did you mean x?"),
        ("search: {shape.pwer: {float: [1, 2]}}",
         "line 2: search.shape.pwer: there is no such field. Did you mean shape.power?"),
        ("search:\n  x:\n    float: [0, 20]",
         "line 4: search.x.float: every searched value must be legal, but 20.0 is not: "
         "x: must be a number, at least -10 and at most 10, got 20.0."),
        ("search:\n  shape:\n    choice:\n      - {name: plain}\n      - {name: curved, power: {float: [3, 1]}}",
         "line 6: search.shape.choice[1].power: `float` takes [low, high], two numbers, low < high, got [3, 1]."),
        ("base: {x: 1}\nsearch: {x: {float: [0, 1]}}",
         "line 3: a field is given once, fixed or searched, but both search.x and base.x set it; remove one of them."),
        ("base: {bonus: {amount: 1}}\nsearch: {bonus: {choice: [off, {}]}}",
         "line 3: a field is given once, fixed or searched, but both search.bonus and base.bonus.amount set it; "
         "remove one of them."),
        ("base: {bonus: off}\nsearch: {bonus.amount: {float: [0, 1]}}",
         "line 3: a field is given once, fixed or searched, but both search.bonus.amount and base.bonus set it; "
         "remove one of them."),
        ("base: {bonus: {}}\nsearch: {bonus: {choice: [off, {}]}}",
         "line 3: a field is given once, fixed or searched, but both search.bonus and base.bonus set it; "
         "remove one of them."),
        ("search:\n  shape.name: {choice: [plain, curved]}\n  shape: {choice: [{name: plain}, {name: curved}]}",
         "line 4: a field is given once, fixed or searched, but both search.shape and search.shape.name set it; "
         "remove one of them."),
        ("search: {bonus.amount: {float: [0, 1]}}",
         "line 2: search.bonus.amount: a searched field must be there in every config, but bonus is off in the base "
         "config; fix bonus under base to a component that has amount, or search the component: "
         "`bonus: {choice: [..., {amount: ...}]}`."),
        ("search: {x: {float: [1, 2]}}",
         "line 2: search.x: the search must hold the first trial's value, but x = 0.0 lies outside the searched "
         "[1.0, 2.0]; set `default:` to the value to try first, or widen the search."),
        ("search: {x: {float: [0, 1]}}\nenqueue:\n  - x: 1\n  - x: 2",
         "line 5: enqueue[1]: x = 2.0 lies outside the searched [0.0, 1.0]; widen the search, or change the value."),
        ("search: {x: {float: [0, 1]}}\nenqueue:\n  - xx: 2",
         "line 4: enqueue[0].xx: there is no such field. Did you mean x?"),
        ("search: {x: {float: [0, 1]}}\nenqueue:\n  - x: 1\n    y: 3",
         "line 5: enqueue[0]: an enqueued config may set searched fields only, but it sets y to another value than "
         "base; search y (a choice will do), or leave it out."),
        ("base: {bonus: {}}\nenqueue: [{bonus: off}]",
         "line 3: enqueue[0]: an enqueued config may set searched fields only, but it sets bonus to another value than "
         "base; search bonus (a choice will do), or leave it out."),
        ("base: {shape.name: curved}\nsearch: {shape.power: {float: [1, 2]}}\nenqueue: [{shape.name: plain}]",
         "line 4: enqueue[0]: shape.power is searched, but the config has no such field; "
         "widen the search, or change the value."),
    ],
)  # fmt: skip
def test_tells_a_mistake_with_its_line(load: Load, text: str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        load(text)
    assert str(refusal.value) == f"space.yaml, {message}"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("x=99", "x: must be a number, at least -10 and at most 10, got 99."),
        ("base.x=99", "x: must be a number, at least -10 and at most 10, got 99."),
        ("x.y=1", "x: must be a number, at least -10 and at most 10, got {'y': 1}."),
        ("study.num_folds=1", "study.num_folds: must be a whole number, at least 2 and at most 50, got 1."),
        ("shape.power=2", "shape: a mapping with a `name` is needed (`{name: ...}`, one of plain, curved), "
         "got {'power': 2}."),
    ],
)  # fmt: skip
def test_tells_a_mistake_with_its_setting(load: Load, setting: str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        load(SEARCH, setting)
    assert str(refusal.value) == f"space.yaml with --set {setting}: {message}"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("xx=1", "there is no field xx. Did you mean x?"),
        ("base.xx=1", "there is no field xx. Did you mean x?"),
        ("power=3", "there is no field power. Did you mean shape.power?"),
        ("shape.powr=3", "there is no field shape.powr. Did you mean shape.power?"),
        ("study.sed=1", "there is no field study.sed. Did you mean study.seed?"),
        ("bonus.zzz=1", "there is no field bonus.zzz. The choices are bonus.amount."),
        ("zzz=1", "there is no field zzz. The choices are x, y, shape, bonus, evaluations, seconds_per_step, fault, "
         "trace, data, study, tracking."),
    ],
)  # fmt: skip
def test_a_setting_of_no_field_names_what_could_be_typed(load: Load, setting: str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        load(SEARCH, setting)
    assert str(refusal.value) == f"--set {setting}: {message}"


def test_tells_where_a_trainable_is_named_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("base: {}\ntrainable: no_such_module\n")
    with pytest.raises(UserError, match=r"space\.yaml, line 2: trainable: .* there is no module 'no_such_module'"):
        load_search_spec(path)


@pytest.mark.parametrize(
    ("sampler", "stopped_as", "told"),
    [
        ("cma_es", None, "extrapolated"),
        ("gp", None, "extrapolated"),
        ("tpe", None, "pruned"),
        ("random", None, "pruned"),
        ("cma_es", "pruned", "pruned"),
        ("tpe", "last_value", "last_value"),
    ],
)
def test_samplers_that_learn_nothing_from_pruned_trials_are_told_estimates(
    sampler: str, stopped_as: str | None, told: str
) -> None:
    config = validate(StudyConfig, {"sampler": {"name": sampler}, "stopped_as": stopped_as})
    assert config.tells_stopped_as == told


def test_a_constraint_that_the_trainable_does_not_measure_is_refused(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = "study:\n  constraints:\n    peak_memory_mib: 90\n    seconds_per_essay: 1\n"
    assert len(load(limits + SEARCH).study.constraints.limits) == 2
    monkeypatch.setattr("fake_trainable.MEASURES", ("num_parameters",))
    message = (
        r"line 5: study\.constraints\.seconds_per_essay: a constraint needs a trainable that measures it, but "
        r"fake_trainable measures num_parameters, peak_memory_mib alone; leave it out"
    )
    with pytest.raises(UserError, match=message):
        load(limits + SEARCH)
    monkeypatch.delattr("fake_trainable.MEASURES")
    with pytest.raises(UserError, match="fake_trainable measures peak_memory_mib alone"):
        load(limits + SEARCH)


def test_a_cost_that_the_trainable_does_not_measure_is_refused(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fake_trainable.MEASURES", ("num_parameters",))
    for measured in ("num_parameters", "peak_memory_mib", "seconds"):
        load(f"study: {{sampler: {{name: nsga2, cost: {measured}}}}}\n" + SEARCH)
    message = (
        r"study\.sampler\.cost: what nsga2 keeps low has to be measured, but fake_trainable does not measure "
        r"seconds_per_essay; choose one of num_parameters, peak_memory_mib, seconds"
    )
    with pytest.raises(UserError, match=message):
        load("study: {sampler: {name: nsga2}}\n" + SEARCH)
