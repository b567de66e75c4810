"""Clauses under `search:`: the domains that they make, and what they may not say."""

from typing import Any, Literal

import pytest
from pydantic import Field, model_validator

from ell_tune.config import StrictConfig, one_of, or_off
from ell_tune.spaces.domain_clauses import ClauseError, is_under, parse_domains
from ell_tune.spaces.space import Alternative, Choice, Numeric, Space


class Mean(StrictConfig):
    name: Literal["mean"] = "mean"


class Lstm(StrictConfig):
    name: Literal["lstm"] = "lstm"
    size: int = Field(64, ge=1, le=512)
    both_ways: bool = True


class Swa(StrictConfig):
    start_frac: float = Field(0.75, ge=0, le=1)
    factor: or_off(float) = Field(None, gt=0, le=1)  # type: ignore[valid-type]


class Training(StrictConfig):
    batch: int = Field(8, ge=1, le=64)
    micro_batch: int = Field(1, ge=1, le=64)

    @model_validator(mode="after")
    def _fits(self) -> "Training":
        if self.micro_batch > self.batch:
            raise ValueError(f"micro_batch must be at most batch, got {self.micro_batch} and {self.batch}")
        return self


class Model(StrictConfig):
    rate: float = Field(1e-3, gt=0, le=1)
    layers: int = Field(0, ge=0, le=12)
    flag: bool = False
    clip: or_off(float) = Field(None, gt=0)  # type: ignore[valid-type]
    loss: Literal["mse", "l1", "off"] = "mse"
    sizes: list[int] = [1, 2]
    pooling: one_of(Mean, Lstm) = Mean()  # type: ignore[valid-type]
    swa: or_off(Swa) = None  # type: ignore[valid-type]
    training: Training = Training()


def parsed(clauses: dict[str, Any], **base: Any) -> Space:
    return parse_domains(Model, Model.model_validate(base).model_dump(), clauses)


def choice_of(*values: Any) -> Choice:
    return Choice(tuple(Alternative("off" if each is None else each, each) for each in values))


@pytest.mark.parametrize(
    ("path", "clause", "domain", "first"),
    [
        ("rate", {"float": [1e-4, 1]}, Numeric("float", 1e-4, 1.0), 1e-3),
        ("rate", {"log": [1e-4, 1], "default": 0.5}, Numeric("log", 1e-4, 1.0), 0.5),
        ("layers", {"int": [0, 12]}, Numeric("int", 0, 12), 0),
        ("layers", {"int": [2, 8], "step": 3, "default": 5}, Numeric("int", 2, 8, 3), 5),
        ("training.batch", {"int": [4, 16]}, Numeric("int", 4, 16), 8),
        ("flag", {"choice": [False, True]}, choice_of(False, True), False),
        ("flag", {"choice": [False, True], "default": True}, choice_of(False, True), True),
        ("clip", {"choice": [False, 1, 10.0]}, choice_of(None, 1.0, 10.0), None),
        ("clip", {"choice": [1, "off"], "default": "off"}, choice_of(1.0, None), None),
        ("clip", {"choice": [None, 1], "default": 1}, choice_of(None, 1.0), 1.0),
        ("loss", {"choice": ["l1", "off", "mse"], "default": "off"}, choice_of("l1", "off", "mse"), "off"),
        ("sizes", {"choice": [[1, 2], [3]]}, Choice((Alternative("[1, 2]", [1, 2]), Alternative("[3]", [3]))), [1, 2]),
    ],
)
def test_reads_a_clause_into_its_domain_and_first_value(path: str, clause: Any, domain: Any, first: Any) -> None:
    space = parsed({path: clause})
    assert space.domains == {path: domain}
    expected = Model().model_dump()
    keys = path.split(".")
    (expected if len(keys) == 1 else expected[keys[0]])[keys[-1]] = first
    assert space.base == expected


POOLING = {
    "choice": [{"name": "mean"}, {"name": "lstm", "size": {"int": [16, 256]}, "both_ways": {"choice": [True, False]}}]
}
LSTM = Alternative(
    "lstm",
    {"name": "lstm", "size": 64, "both_ways": True},
    {"size": Numeric("int", 16, 256), "both_ways": choice_of(True, False)},
)


def test_nested_clauses_are_searched_under_their_alternative() -> None:
    space = parsed({"pooling": POOLING})
    assert space.domains == {"pooling": Choice((Alternative("mean", {"name": "mean"}), LSTM))}
    assert space.searched == ("pooling", "pooling[lstm].size", "pooling[lstm].both_ways")
    assert space.base["pooling"] == {"name": "mean"}


@pytest.mark.parametrize(
    ("default", "first"),
    [
        ("lstm", {"name": "lstm", "size": 64, "both_ways": True}),  # the Config's own defaults
        ({"name": "lstm", "size": 32, "both_ways": False}, {"name": "lstm", "size": 32, "both_ways": False}),
        ("mean", {"name": "mean"}),
    ],
)
def test_a_choices_default_is_a_label_or_a_config(default: Any, first: Any) -> None:
    assert parsed({"pooling": {**POOLING, "default": default}}).base["pooling"] == first


def test_a_nested_default_is_the_first_value_of_its_alternative() -> None:
    lstm = {"name": "lstm", "size": {"int": [16, 256], "default": 32}}
    space = parsed({"pooling": {"choice": [{"name": "mean"}, lstm], "default": "lstm"}})
    assert space.base["pooling"] == {"name": "lstm", "size": 32, "both_ways": True}


def test_a_choice_nested_in_a_choice_may_hold_off() -> None:
    swa = {"start_frac": {"float": [0.5, 0.9]}, "factor": {"choice": [False, 0.1, 0.5], "default": 0.1}}
    space = parsed({"swa": {"choice": [False, swa], "default": "on"}})
    assert space.searched == ("swa", "swa[on].start_frac", "swa[on].factor")
    assert space.base["swa"] == {"start_frac": 0.75, "factor": 0.1}
    choice = space.domains["swa"]
    assert isinstance(choice, Choice)
    assert choice.alternatives[1].nested["factor"] == choice_of(None, 0.1, 0.5)


def test_a_component_without_a_name_is_called_by_what_is_fixed_in_it() -> None:
    late, early = {"start_frac": 0.9}, {"start_frac": 0.5, "factor": {"log": [0.1, 1]}}
    space = parsed(
        {"swa": {"choice": [False, late, early, {"factor": {"float": [0.1, 1]}}], "default": "start_frac=0.9"}}
    )
    choice = space.domains["swa"]
    assert isinstance(choice, Choice)
    assert [alternative.label for alternative in choice.alternatives] == [
        "off",
        "start_frac=0.9",
        "start_frac=0.5",
        "on",
    ]
    assert space.base["swa"] == {"start_frac": 0.9, "factor": None}


def test_defaults_must_be_legal_together_not_one_after_the_other() -> None:
    clauses = {
        "training.micro_batch": {"int": [2, 16], "default": 16},  # more than the Config's default batch of 8
        "training.batch": {"int": [16, 32], "default": 32},
    }
    assert parsed(clauses).base["training"] == {"batch": 32, "micro_batch": 16}


def test_a_value_needs_some_others_with_which_it_is_legal_not_the_first_ones() -> None:
    clauses = {
        "training.micro_batch": {"int": [1, 16]},  # more than the first batch
        "training.batch": {"choice": [8, 16]},
        "layers": {"int": [0, 2]},
    }
    assert parsed(clauses).domains["training.micro_batch"] == Numeric("int", 1, 16)
    with pytest.raises(ClauseError, match=r"^search\.training\.micro_batch\.int: .* 64 is not: training: micro_batch"):
        parsed({**clauses, "training.micro_batch": {"int": [1, 64]}})


def test_a_value_inside_an_alternative_may_need_another_value_inside_it() -> None:
    alternatives = [{"micro_batch": 2}, {"micro_batch": {"int": [1, 16]}, "batch": {"int": [8, 16]}}]
    space = parsed({"training": {"choice": alternatives, "default": "on"}})
    assert space.searched == ("training", "training[on].micro_batch", "training[on].batch")
    alternatives[1]["micro_batch"] = {"int": [1, 17]}
    with pytest.raises(ClauseError, match=r"choice\[1\]\.micro_batch\.int: .* 17 is not: training: micro_batch must"):
        parsed({"training": {"choice": alternatives, "default": "on"}})


def test_searching_leaves_the_given_base_alone() -> None:
    base = Model().model_dump()
    parse_domains(Model, base, {"rate": {"float": [0.1, 1], "default": 0.5}})
    assert base == Model().model_dump()


KINDS = (
    r"one of `choice: \[\.\.\.\]`, `int: \[low, high\]` \(with an optional `step:`\), `float: .*`, `log: .*` is needed"
)


@pytest.mark.parametrize(
    ("path", "clause", "clause_path", "message"),
    [
        ("rate", 0.5, ("rate",), rf"^search\.rate: {KINDS}, with an optional `default:`, but got 0\.5"),
        ("rate", {}, ("rate",), rf"{KINDS}.* got {{}}"),
        ("rate", {"flot": [0, 1]}, ("rate",), rf"{KINDS}.* got {{'flot': \[0, 1\]}}"),
        ("rate", {"float": [0.1, 1], "log": [0.1, 1]}, ("rate",), KINDS),
        ("rate", {"float": [0.1, 1], "step": 1}, ("rate",), KINDS),
        ("training", {"batch": {"int": [1, 2]}}, ("training",), r"searched by its dotted path \(optimizer\.lr\)"),
        (
            "rate",
            {"float": [1, 0.1]},
            ("rate",),
            r"`float` takes \[low, high\], two numbers, low < high, got \[1, 0\.1\]",
        ),
        ("rate", {"float": [0.5, 0.5]}, ("rate",), r"low < high, got \[0\.5, 0\.5\]"),
        ("rate", {"float": [0.5]}, ("rate",), r"two numbers, low < high, got \[0\.5\]"),
        ("rate", {"float": "0.1 1"}, ("rate",), r"two numbers, low < high, got '0\.1 1'"),
        ("rate", {"float": [0.1, "1"]}, ("rate",), r"two numbers, low < high, got \[0\.1, '1'\]"),
        ("rate", {"float": [False, True]}, ("rate",), r"two numbers, low < high, got \[False, True\]"),
        ("rate", {"float": [0.1, float("inf")]}, ("rate",), r"two numbers, low < high, got \[0\.1, inf\]"),
        ("rate", {"float": [float("nan"), 1]}, ("rate",), r"two numbers, low < high, got \[nan, 1\]"),
        ("rate", {"log": [0, 1]}, ("rate",), r"`log` takes .* two numbers above 0, low < high, got \[0, 1\]"),
        ("layers", {"int": [0, 1.5]}, ("layers",), r"`int` takes .* two whole numbers, low < high, got \[0, 1\.5\]"),
        ("layers", {"int": [0, 5], "step": 2}, ("layers",), r"`step` .* divides high - low of \[0, 5\], got 2$"),
        ("layers", {"int": [0, 5], "step": 0}, ("layers",), r"`step` must be a whole number above 0 .* got 0$"),
        ("layers", {"int": [0, 5], "step": True}, ("layers",), r"`step` must be a whole number .* got True$"),
        ("layers", {"int": [0, 5], "step": 2.5}, ("layers",), r"`step` must be a whole number .* got 2\.5$"),
        ("layers", {"int": [0, 13]}, ("layers", "int"), r"^search\.layers\.int: .* 13 is not: layers: .* at most 12"),
        (
            "rate",
            {"float": [0, 1]},
            ("rate", "float"),
            r"but 0\.0 is not: rate: must be a number, above 0 and at most 1, got 0\.0",
        ),
        (
            "layers",
            {"float": [0, 2]},
            ("layers", "float"),
            r"but 0\.0 is not: layers: must be a whole number, .*, got 0\.0",
        ),
        ("flag", {"int": [0, 1]}, ("flag", "int"), r"but 0 is not: flag: must be true or false, got 0"),
        ("rate", {"float": [0.1, 1]}, ("rate",), r"^search\.rate: .* rate = 0\.001 lies outside .* set `default:`"),
        (
            "rate",
            {"float": [0.1, 0.5], "default": 1},
            ("rate",),
            r"rate = 1\.0 lies outside the searched \[0\.1, 0\.5\]",
        ),
        (
            "rate",
            {"float": [0.1, 1], "default": 2},
            ("rate", "default"),
            r"^search\.rate\.default: rate: .* at most 1, got 2",
        ),
        ("loss", {"choice": "l1"}, ("loss",), r"`choice` takes a list of at least two values .*, got 'l1'"),
        (
            "loss",
            {"choice": ["mse"]},
            ("loss",),
            r"`choice` takes a list of at least two values .one alone stands under `base`., got",
        ),
        (
            "loss",
            {"choice": ["mse", "l2"]},
            ("loss", "choice", 1),
            r"^search\.loss\.choice\[1\]: .* 'l2' is not: loss: ",
        ),
        (
            "loss",
            {"choice": ["l1", "off"]},
            ("loss",),
            r"loss = 'mse' is none of the searched alternatives \(l1, off\)",
        ),
        (
            "loss",
            {"choice": ["l1", "l1"]},
            ("loss", "choice", 1),
            r"must differ in `name` or value, but l1 stands twice",
        ),
        ("clip", {"choice": [1, 1.0]}, ("clip", "choice", 1), r"but 1\.0 stands twice"),
        ("clip", {"choice": ["off", None]}, ("clip", "choice", 1), r"but off stands twice"),
        (
            "pooling",
            {"choice": [{"name": "lstm", "size": 1}, {"name": "lstm", "size": 2}]},
            ("pooling", "choice", 1),
            r"but lstm stands twice; make them one, with a nested choice for what differs",
        ),
        (
            "pooling",
            {"choice": [{"name": "mean"}, {"name": "lstm"}], "default": "lstmm"},
            ("pooling", "default"),
            r"^search\.pooling\.default: pooling: .* got 'lstmm'\. The alternatives are mean, lstm\.$",
        ),
        (
            "swa",
            {"choice": [False, {"start_frac": 0.5}], "default": "onn"},  # `off` in YAML
            ("swa", "default"),
            "The alternatives are off, start_frac=0.5",
        ),
        (
            "pooling",
            {"choice": [{"name": "mean"}, {"name": "lstm", "size": {"int": [256, 16]}}]},
            ("pooling", "choice", 1, "size"),
            r"^search\.pooling\.choice\[1\]\.size: `int` takes",
        ),
        (
            "pooling",
            {"choice": [{"name": "mean"}, {"name": "lstm", "size": {"int": [16, 999]}}]},
            ("pooling", "choice", 1, "size", "int"),
            r"but 999 is not: pooling\.size: must be a whole number, at least 1 and at most 512, got 999",
        ),
        (
            "pooling",
            {"choice": [{"name": "mean"}, {"name": "lstm", "siz": {"int": [16, 32]}}]},
            ("pooling", "choice", 1, "siz", "int"),
            r"pooling\.siz: there is no such field\. Did you mean pooling\.size\?",
        ),
        (
            "pooling",
            {"choice": [{"name": "mean"}, {"name": "lstm", "size": {"int": [16, 32]}}], "default": "lstm"},
            ("pooling",),
            r"pooling\[lstm\]\.size = 64 lies outside the searched \[16, 32\]",
        ),
        (
            "training.micro_batch",  # 1 is legal, 16 is more than a batch
            {"int": [1, 16]},
            ("training.micro_batch", "int"),
            r"but 16 is not: training: micro_batch must be at most batch, got 16 and 8\.$",
        ),
        (
            "training.micro_batch",
            {"int": [1, 16], "default": 16},
            (),
            r"^search: base and every `default:` must be a legal config together, but training: micro_batch must be",
        ),
        (
            "swa.start_frac",
            {"float": [0.5, 0.9], "default": 0.7},
            ("swa.start_frac",),
            r"must be there in every config, but swa is off in the base config; fix swa under base to a component "
            r"that has start_frac, or search the component: `swa: {choice: \[\.\.\., {start_frac: \.\.\.}\]}`$",
        ),
        (
            "pooling.size",
            {"int": [1, 2]},
            ("pooling.size",),
            r"must be there in every config, but pooling is {'name': 'mean'} in the base config",
        ),
    ],
)
def test_refuses_a_wrong_clause_and_says_where(path: str, clause: Any, clause_path: Any, message: str) -> None:
    with pytest.raises(ClauseError, match=message) as refusal:
        parsed({path: clause})
    assert (refusal.value.clause_path, "\n" in str(refusal.value)) == (clause_path, False)


def test_a_field_of_a_component_that_is_on_in_every_config_may_be_searched() -> None:
    space = parsed({"swa.start_frac": {"float": [0.5, 0.9]}, "pooling.size": {"int": [1, 64]}}, swa={}, pooling=Lstm())
    assert space.searched == ("swa.start_frac", "pooling.size")
    assert space.base["swa"] == {"start_frac": 0.75, "factor": None}


def test_is_under_goes_by_whole_keys() -> None:
    assert is_under("a.b", "a") and is_under("a", "a")
    assert not is_under("ab", "a") and not is_under("a", "a.b")
