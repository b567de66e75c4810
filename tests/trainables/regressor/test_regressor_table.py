"""The table of parameters as text, and the command that prints it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainables.regressor import Config
from trainables.regressor.table import main, render_table, table_of


def write(path: Path, **config: Any) -> Path:
    content = {"trainable": "trainables.regressor", "data": {"targets": ["a", "b"]}, "seed": 42, "config": config}
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_table_as_text(tiny_deberta: Path) -> None:
    config = Config.model_validate(
        {
            "backbone": {"name": str(tiny_deberta)},
            "optimizer": {"lr": 2e-5, "head_lr": 1e-3, "layer_rates": {"name": "decay", "decay": 0.5}},
            "freeze": {"embeddings": True, "num_layers": 1, "num_epochs": 2},
            "loss": {"uncertainty": {}},
        }
    )
    assert render_table(table_of(config, ("a", "b"))).splitlines() == [
        "part        peak lr  decay  frozen    numbers  parameters",
        "head          0.001   0.01  no             64  head.output.weight",
        "head          0.001      0  no             66  norms.first.weight and 2 more",
        "layer 2       2e-05   0.01  no          8,192  encoder.layer.1.attention.self.query_proj.weight and 5 more",
        "layer 2       2e-05      0  no            352  encoder.layer.1.attention.self.query_proj.bias and 9 more",
        "layer 1       1e-05   0.01  2 epochs    8,192  encoder.layer.0.attention.self.query_proj.weight and 5 more",
        "layer 1       1e-05      0  2 epochs      352  encoder.layer.0.attention.self.query_proj.bias and 9 more",
        "embeddings    5e-06   0.01  2 epochs    4,896  embeddings.word_embeddings.weight and 1 more",
        "embeddings    5e-06      0  2 epochs      128  embeddings.LayerNorm.weight and 3 more",
        "loss          0.001      0  no              2  log_variance_C",
    ]


def test_decay_towards_pretrained_weights_is_in_the_table(tiny_deberta: Path) -> None:
    config = Config.model_validate(
        {
            "backbone": {"name": str(tiny_deberta)},
            "optimizer": {"weight_decay": 0.02},
            "reinit": {"num_layers": 1},
            "prior_decay": {"strength": 0.05},
        }
    )
    found = [(row.part, row.weight_decay, row.prior_decay) for row in table_of(config, ("a", "b"))]
    assert found == [
        ("head", 0.02, 0.0),
        ("head", 0.0, 0.0),
        ("layer 2", 0.02, 0.0),
        ("layer 2", 0.0, 0.0),
        ("layer 1", 0.0, 0.05),
        ("layer 1", 0.0, 0.0),
        ("embeddings", 0.0, 0.05),
        ("embeddings", 0.0, 0.0),
    ]
    assert "layer 1       2e-05  0.05 to prior  no" in render_table(table_of(config, ("a", "b")))


def test_the_command_prints_the_table_of_an_exported_config(
    tmp_path: Path, tiny_deberta: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "config.yaml", backbone={"name": str(tiny_deberta)}, freeze={"encoder": True})
    assert main([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["part", *["head"] * 2, *["layer"] * 4, *["embeddings"] * 2]
    assert [" yes " in line for line in lines[1:]] == [False] * 2 + [True] * 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("base: {}", "c.yaml: a section `trainable: NAME`"),
        ("config: {}", "c.yaml: a config file needs trainable"),
        (
            "trainable: trainables.regressor\nconfig: {optimizer: {lrr: 1}}",
            "c.yaml, line 2: config.optimizer.lrr: there",
        ),
        (
            "trainable: trainables.regressor\nbase: {optimizer.lrr: 1}",
            "c.yaml, line 2: base.optimizer.lrr: there is no",
        ),
        ("trainable: trainables.regressor\nbase: {seed: 1, seed: 2}", "c.yaml, line 2: a value may be given once, but"),
        ("config: [", "c.yaml, line 1: "),
        ("trainable: trainables.regressor\ndata: {targets: []}\nconfig: {}", "c.yaml, line 2: data.targets: "),
        ("trainable: trainables.frozen_features\nconfig: {}", "line 1: the table is one of trainables.regressor, but"),
        ("trainable: trainables.frozen_features\nbase: {}", "line 1: the table is one of trainables.regressor, but"),
    ],
)
def test_a_users_mistake_is_told_in_one_paragraph(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content)
    assert main([str(path)]) == 2
    told = capsys.readouterr().err
    assert re.search(re.escape(message), told)
    assert told.count("\n") == 1


def test_the_command_prints_the_table_of_a_spaces_first_trial(
    tmp_path: Path, tiny_deberta: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        f"trainable: trainables.regressor\nbase: {{backbone.name: {tiny_deberta}, optimizer: {{head_lr: 3e-3}}}}\n"
        "search: {optimizer.lr: {log: [1e-5, 1e-3], default: 3e-4}}"
    )
    assert main([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("head")] == [["head", "0.003"]] * 2
    assert [line.split()[:3] for line in lines if line.startswith("layer 2")] == [["layer", "2", "0.0003"]] * 2


@pytest.mark.parametrize(
    "content", [None, "{", '{"model_type": "no such"}', '{"model_type": "bert", "hidden_size": 7}']
)
def test_a_backbone_whose_architecture_cannot_be_read(
    tmp_path: Path, tiny_deberta: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    backbone = tmp_path / "backbone"
    backbone.mkdir()
    if content is not None:
        (backbone / "config.json").write_text(content)
    both = {"backbone": {"name": str(tiny_deberta)}, "second": {"backbone": {"name": str(backbone)}}}
    assert main([str(write(tmp_path / "c.yaml", **both))]) == 2
    told = capsys.readouterr().err
    assert re.match(r"second\.backbone\.name: a folder with (a )?config\.json .*that transformers can read", told)
    assert told.count("\n") == 1


def test_a_config_that_does_not_fit_its_backbone(
    tmp_path: Path, tiny_deberta: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(write(tmp_path / "c.yaml", backbone={"name": str(tiny_deberta)}, freeze={"num_layers": 3}))]) == 2
    assert "freeze.num_layers is 3" in capsys.readouterr().err
    assert main([]) == 2
    assert "Usage: python -m trainables.regressor.table FILE.yaml" in capsys.readouterr().err
