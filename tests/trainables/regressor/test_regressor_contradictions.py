"""Fields of a regressor's config that do not go together: refused before a search begins, or by a drawn trial alone."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler

from ell_tune.choosing.search_spec import load_search_spec
from ell_tune.config import InvalidConfig, validate
from ell_tune.errors import UserError
from trainables.regressor import Config

FGM = {"adversarial": {"name": "fgm"}}
FROZEN = {"freeze": {"encoder": True}}
SHALLOW = {"backbone": {"num_layers": 4}}
ALL_FROZEN = {**SHALLOW, "freeze": {"embeddings": True, "num_layers": 3}, "reinit": {"num_layers": 1}}
LATE = {"freeze": {"encoder": True, "num_epochs": 3}, "training": {"num_epochs": 3}}


@pytest.mark.parametrize(
    ("values", "path", "message"),
    [
        ({**FROZEN, "mixout": {}}, "mixout", "freeze.encoder leaves none for all of training.num_epochs=4. Freeze"),
        ({**FROZEN, "prior_decay": {}}, "prior_decay", "freeze.encoder leaves none"),
        (
            {**LATE, "mixout": {}, "prior_decay": {}},
            "mixout",
            "num_epochs=3. Freeze less, or set mixout to off",
        ),
        ({**ALL_FROZEN, "prior_decay": {}}, "prior_decay", "freeze and reinit.num_layers leave none"),
        # Embeddings alone are trained, which mixout does not mix.
        ({**SHALLOW, "freeze": {"num_layers": 4}, "mixout": {}}, "mixout", "freeze and reinit.num_layers leave none"),
        ({**SHALLOW, "reinit": {"num_layers": 4}, "mixout": {}}, "mixout", "layers .* are needed"),
        ({**FROZEN, "reinit": {"num_layers": 2}}, "freeze.encoder", "but reinit.num_layers is 2. Set it to 0"),
        ({**FROZEN, **FGM}, "adversarial", "by freeze.encoder. Set freeze.encoder to false, or choose awp or sift"),
        (
            {"freeze": {"embeddings": True}, **FGM},
            "adversarial",
            "by freeze.embeddings. Set freeze.embeddings to false",
        ),
        (
            {"freeze": {"embeddings": True, "encoder": True}, **FGM},
            "adversarial",
            "by freeze.encoder and freeze.embeddings. Set freeze.encoder and freeze.embeddings to false",
        ),
        (
            {**FROZEN, **FGM, "second": {"freeze": {"embeddings": True}}},
            "adversarial",
            "by freeze.encoder and second.freeze.embeddings. Set those of one encoder to false",
        ),
        ({**LATE, **FGM}, "adversarial", "frozen for all of training.num_epochs=3 by freeze.encoder"),
        (
            {"loss": {"agreement": {"name": "ranking"}}, "training": {"batch_size": 1}},
            "loss.agreement",
            "it is ranking with training.batch_size=1. Raise training.batch_size",
        ),
        ({**SHALLOW, "freeze": {"num_layers": 6}}, "freeze.num_layers", "is 6 .* Here backbone.num_layers is 4"),
        ({**SHALLOW, "reinit": {"num_layers": 5}}, "freeze.num_layers", "which is 4, .* reinit.num_layers is 5"),
        (
            {**SHALLOW, "pooling": {"name": "concat_last", "num_layers": 6}},
            "pooling.num_layers",
            "which is 5, but it is 6. .* Here backbone.num_layers is 4",
        ),
        (
            {**SHALLOW, "optimizer": {"layer_rates": {"name": "grouped", "num_groups": 5}}},
            "optimizer.layer_rates.num_groups",
            "which is 4, .* but it is 5",
        ),
        ({"second": {**SHALLOW, "freeze": {"num_layers": 6}}}, "second.freeze.num_layers", "freeze.num_layers is 6"),
        ({"soup": {}, "training": {"evaluations": 1}}, "soup", "at least two evaluations .* is 1. Raise it"),
    ],
)
def test_what_no_fit_could_train_is_refused_at_one_of_its_fields(
    values: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(InvalidConfig, match=f"^{path}: .*{message}") as refusal:
        validate(Config, values)
    assert refusal.value.path == path
    assert str(refusal.value).endswith(".") and not str(refusal.value).endswith("..")


@pytest.mark.parametrize(
    "values",
    [
        {**FROZEN, "adversarial": {"name": "awp"}},
        {"freeze": {"encoder": True, "num_epochs": 2}, **FGM, "mixout": {}, "prior_decay": {}},  # thaws
        {**FROZEN, **FGM, "mixout": {}, "prior_decay": {}, "second": {}},  # there is another encoder
        {**SHALLOW, "freeze": {"num_layers": 4}, "prior_decay": {}, **FGM},  # the embeddings are trained
        {**SHALLOW, "freeze": {"num_layers": 3}, "reinit": {"num_layers": 1}},
        {**SHALLOW, "pooling": {"name": "concat_last", "num_layers": 5}},  # with the embeddings' output
        {"loss": {"agreement": {"name": "pearson"}}, "training": {"batch_size": 2, "micro_batch_size": 1}},
    ],
)
def test_what_looks_like_it_can_be_trained(values: dict[str, Any]) -> None:
    assert validate(Config, values)


def written(folder: Path, text: str) -> Path:
    path = folder / "space.yaml"
    path.write_text(f"trainable: trainables.regressor\n{text}\n")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base:\n  mixout: {}\n  freeze.encoder: true", r"line 3: base\.mixout: layers that are pretrained"),
        ("base:\n  adversarial.name: fgm\n  freeze.embeddings: true", r"line 3: base\.adversarial: fgm perturbs"),
        (
            "base: {training.evaluations: 4}\nsearch:\n  freeze.encoder: {choice: [false, true]}\n"
            "enqueue:\n  - freeze.encoder: true\n    reinit.num_layers: 1",
            r"line 6: enqueue\[0\]\.freeze\.encoder: a layer of random weights",
        ),
        (  # impossible whatever the others are
            "base: {mixout: {}}\nsearch:\n  freeze.encoder: {choice: [false, true]}\n"
            "  reinit.num_layers: {int: [0, 2]}",
            r"line 4: search\.freeze\.encoder\.choice\[1\]: .* True is not: mixout: ",
        ),
        (  # what is off is the encoder
            "search:\n  second.freeze.encoder: {choice: [false, true]}",
            r"line 3: .*second is off .* has freeze\.encoder, .*`second: {choice: .* {freeze: {encoder: ",
        ),
    ],
)
def test_a_space_that_holds_one_is_refused_with_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_search_spec(written(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    [
        # `base` by itself trains nothing, but every trial thaws.
        "base: {mixout: {}, freeze.encoder: true}\nsearch:\n  freeze.num_epochs: {int: [1, 3], default: 2}",
        # mixout needs the second encoder as its nested choice has it otherwise.
        "base: {freeze.encoder: true}\nsearch:\n  mixout: {choice: [off, {p: 0.1}]}\n"
        "  second: {choice: [off, {freeze: {encoder: {choice: [true, false], default: true}}}]}",
    ],
)
def test_a_space_whose_configs_are_legal_is_read(tmp_path: Path, text: str) -> None:
    spec = load_search_spec(written(tmp_path, text))
    assert spec.enqueue == (spec.space.base,)


def test_a_choice_of_which_only_some_combinations_are_impossible_is_searched(tmp_path: Path) -> None:
    space = load_search_spec(
        written(
            tmp_path,
            "search:\n"
            "  freeze.encoder: {choice: [false, true]}\n"
            "  mixout: {choice: [off, {p: 0.1}], default: p=0.1}\n"
            "  prior_decay: {choice: [off, {strength: 0.1}], default: strength=0.1}\n"
            "  adversarial: {choice: [off, {name: fgm}], default: fgm}\n"
            "  reinit.num_layers: {int: [0, 2], default: 1}\n",
        )
    ).space
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    refused = 0
    for _ in range(50):  # drawing does not validate: an impossible one fails alone, in its worker
        config = space.suggest(study.ask())
        try:
            validate(Config, config)
        except InvalidConfig:
            refused += 1
            assert config["freeze"]["encoder"]
    assert 0 < refused < 50
