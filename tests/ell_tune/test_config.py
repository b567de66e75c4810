"""Strict configs: what they refuse, and that the refusal names the dotted path, the value and the choices."""

from copy import deepcopy
from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from ell_tune.config import Contradiction, InvalidConfig, StrictConfig, one_of, or_off, validate


class Mean(StrictConfig):
    name: Literal["mean"] = "mean"


class Lstm(StrictConfig):
    name: Literal["lstm"] = "lstm"
    size: int = Field(128, ge=1, le=512)
    mean: float = Field(0.0, le=1, allow_inf_nan=False)  # called like the other alternative's tag


class Swa(StrictConfig):
    start_frac: float = Field(0.75, ge=0, le=1)
    factor: or_off(float) = Field(None, gt=0)  # type: ignore[valid-type]


class Training(StrictConfig):
    batch: int = Field(8, ge=1)
    micro_batch: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> "Training":
        if self.micro_batch > self.batch:
            raise ValueError(f"micro_batch must be at most batch, got {self.micro_batch} and {self.batch}")
        return self


class Trained(StrictConfig):
    pooling: one_of(Mean, Lstm) = Lstm(size=64)  # type: ignore[valid-type]


class Model(StrictConfig):
    pooling: one_of(Mean, Lstm) = Mean()  # type: ignore[valid-type]
    second: or_off(one_of(Mean, Lstm)) = None  # type: ignore[valid-type]
    swa: or_off(Swa) = None  # type: ignore[valid-type]
    training: Training = Training()
    loss: Literal["mse", "l1"] = "mse"


class Needy(StrictConfig):
    column: str


@pytest.mark.parametrize("off", [None, False, "off"])
def test_off_is_none(off: Any) -> None:
    model = validate(Model, {"swa": off, "second": off})
    assert model.swa is None and model.second is None
    assert validate(Model, {"swa": {"factor": off}}).swa == Swa(start_frac=0.75, factor=None)


def test_a_mapping_switches_a_component_on_with_its_defaults() -> None:
    model = validate(Model, {"swa": {}, "second": {"name": "lstm", "size": 64}})
    assert model.swa == Swa()
    assert model.second == Lstm(size=64)
    assert validate(Model, model.model_dump()) == model


@pytest.mark.parametrize(
    ("values", "pooling"),
    [
        ({}, Lstm(size=64)),
        ({"pooling": {}}, Lstm()),
        ({"pooling": {"mean": 0.5}}, Lstm(mean=0.5)),
        ({"pooling": {"name": "lstm", "mean": 0.5}}, Lstm(mean=0.5)),
        ({"pooling": {"name": "mean"}}, Mean()),
    ],
)
def test_without_a_name_a_mapping_means_the_default_variant(values: Any, pooling: StrictConfig) -> None:
    before = deepcopy(values)
    assert validate(Trained, values) == Trained(pooling=pooling)
    assert values == before


class Nullable(StrictConfig):
    weights: dict[str, float] | None = {"a": 1.0}
    number: int | None = Field(3, ge=1)
    text: str | None = "x"
    flag: bool | None = True


@pytest.mark.parametrize("off", ["off", False, None])
def test_off_is_null_wherever_it_can_mean_nothing_else(off: object) -> None:
    config = validate(Nullable, {"weights": off, "number": off})
    assert (config.weights, config.number) == (None, None)
    assert validate(Nullable, {"text": "off", "flag": False}) == Nullable(text="off", flag=False)
    with pytest.raises(InvalidConfig, match="^number: must be null or a whole number, at least 1, got 0"):
        validate(Nullable, {"number": 0})


class Optimizer(StrictConfig):
    num_steps: int = 1
    num_warmup_steps: int = 0

    @model_validator(mode="after")
    def _warms_up_in_time(self) -> "Optimizer":
        if self.num_warmup_steps > self.num_steps:
            raise Contradiction("num_warmup_steps", f"at most num_steps, which is {self.num_steps}.")
        return self


class WithOptimizer(StrictConfig):
    optimizer: Optimizer = Optimizer()


def test_a_contradiction_is_told_at_one_of_its_fields() -> None:
    with pytest.raises(InvalidConfig) as refusal:
        validate(WithOptimizer, {"optimizer": {"num_warmup_steps": 2}})
    assert refusal.value.path == "optimizer.num_warmup_steps"
    assert str(refusal.value) == "optimizer.num_warmup_steps: at most num_steps, which is 1."


def test_what_the_default_variant_lacks_needs_a_name() -> None:
    with pytest.raises(InvalidConfig, match=r"one of mean, lstm\), got \{'siz': 2\}"):
        validate(Trained, {"pooling": {"siz": 2}})
    with pytest.raises(
        InvalidConfig, match=r"^pooling.size: must be a whole number, at least 1 and at most 512, got 513"
    ):
        validate(Trained, {"pooling": {"size": 513}})


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Model().loss = "l1"


@pytest.mark.parametrize(
    ("values", "path", "message"),
    [
        ({"los": "l1"}, "los", "los: there is no such field. Did you mean loss?"),
        (
            {"zzz": 1},
            "zzz",
            "zzz: there is no such field. The choices are pooling, second, swa, training, loss.",
        ),
        ({"batch": 4}, "batch", "batch: there is no such field. Did you mean training.batch?"),
        ({"start_frac": 0.5}, "start_frac", "start_frac: there is no such field. Did you mean swa.start_frac?"),
        ({"swa": {"start": 1}}, "swa.start", "swa.start: there is no such field. Did you mean swa.start_frac?"),
        # Of a component that another choice would have brought, the choices with the field are named, and its own.
        (
            {"pooling": {"name": "mean", "size": 1}},
            "pooling.size",
            "pooling.size: mean has no such field, but lstm has. What mean has: no field but its name.",
        ),
        (
            {"pooling": {"name": "mean", "siz": 1}},
            "pooling.siz",
            "pooling.siz: there is no such field. The choices are name.",
        ),
        (
            {"second": {"name": "lstm", "siz": 1}},
            "second.siz",
            "second.siz: there is no such field. Did you mean second.size?",
        ),
        (
            {"pooling": {"name": "lstm", "size": 513}},
            "pooling.size",
            "pooling.size: must be a whole number, at least 1 and at most 512, got 513.",
        ),
        (
            {"pooling": {"name": "lstm", "mean": 2.0}},
            "pooling.mean",
            "pooling.mean: must be a number, at most 1, got 2.0.",
        ),
        (
            {"pooling": {"name": "lstm", "mean": float("nan")}},
            "pooling.mean",
            "pooling.mean: must be a finite number, got nan.",
        ),
        ({"pooling": {"name": "lstmm"}}, "pooling", "pooling: `name` must be one of 'mean', 'lstm', got 'lstmm'."),
        ({"second": {"name": "x"}}, "second", "second: `name` must be one of 'mean', 'lstm', or off, got 'x'."),
        (
            {"pooling": {"size": 2}},
            "pooling",
            "pooling: a mapping with a `name` is needed (`{name: ...}`, one of mean, lstm), got {'size': 2}.",
        ),
        (
            {"pooling": "mean"},
            "pooling",
            "pooling: a mapping with a `name` is needed (`{name: ...}`, one of mean, lstm), got 'mean'.",
        ),
        (
            {"second": True},
            "second",
            "second: a mapping with a `name` is needed (`{name: ...}`, one of mean, lstm, or off), got True.",
        ),
        ({"swa": True}, "swa", "swa: a mapping of start_frac, factor is needed, or off, got True."),
        ({"swa": {"factor": 0.0}}, "swa.factor", "swa.factor: must be off or a number, above 0, got 0.0."),
        (
            {"training": {"batch": 2.0}},
            "training.batch",
            "training.batch: must be a whole number, at least 1, got 2.0.",
        ),
        (
            {"training": {"batch": True}},
            "training.batch",
            "training.batch: must be a whole number, at least 1, got True.",
        ),
        (
            {"training": {"batch": 2, "micro_batch": 4}},
            "training",
            "training: micro_batch must be at most batch, got 4 and 2.",
        ),
        ({"loss": "l2"}, "loss", "loss: must be one of 'mse', 'l1', got 'l2'."),
        ([], "", "a mapping of pooling, second, swa, training, loss is needed, got []."),
        (
            {"loss": "l2", "swa": {"start_frac": 2.0}},
            "swa.start_frac",
            "swa.start_frac: must be a number, at least 0 and at most 1, got 2.0. (the first of 2 errors)",
        ),
    ],
)
def test_refuses_with_path_rule_value_and_choices(values: Any, path: str, message: str) -> None:
    with pytest.raises(InvalidConfig) as refusal:
        validate(Model, values)
    assert refusal.value.path == path
    assert str(refusal.value) == message


def test_names_a_field_that_is_missing() -> None:
    with pytest.raises(InvalidConfig, match="^column: this field must be given, but it is missing.$"):
        validate(Needy, {})


def test_a_default_outside_its_range_is_a_bug_that_shows_at_once() -> None:
    class Wrong(StrictConfig):
        rate: float = Field(2.0, le=1)

    with pytest.raises(InvalidConfig, match="rate: must be a number, at most 1, got 2.0"):
        validate(Wrong, {})
