"""Re-initialisation: what is drawn anew, from which distribution, and that it happens at all."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import DebertaConfig, DebertaModel

from trainables.regressor.encoder.backbone import BackboneConfig, load_backbone
from trainables.regressor.encoder.layers import encoder_layers
from trainables.regressor.encoder.reinit import ReinitConfig, reinitialise_top_layers, trained_from_pretrained


def load(folder: Path) -> Any:
    """The backbone with all weights off by .5, so that biases and LayerNorms differ from their start too."""
    backbone = load_backbone(BackboneConfig(name=str(folder)), 0, (), 64)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.5)
    return backbone


def changed_by(backbone: Any, config: ReinitConfig) -> set[str]:
    before = {name: parameter.clone() for name, parameter in backbone.named_parameters()}
    torch.manual_seed(0)
    reinitialise_top_layers(backbone, config)
    return {name for name, parameter in backbone.named_parameters() if not torch.equal(parameter, before[name])}


def test_all_of_the_top_layer_and_nothing_else(tiny_deberta: Path) -> None:
    backbone = load(tiny_deberta)
    changed = changed_by(backbone, ReinitConfig(num_layers=1))
    assert changed == {name for name, _ in backbone.named_parameters() if name.startswith("encoder.layer.1.")}
    top = encoder_layers(backbone)[1].get_submodule("output")
    assert top.get_parameter("dense.weight").std().item() == pytest.approx(0.02, rel=0.1)
    assert top.get_parameter("dense.bias").eq(0).all()
    assert top.get_parameter("LayerNorm.weight").eq(1).all()


def test_linear_leaves_the_layer_norms(tiny_deberta: Path) -> None:
    backbone = load(tiny_deberta)
    changed = changed_by(backbone, ReinitConfig(num_layers=2, what="linear"))
    layers = {name for name, _ in backbone.named_parameters() if name.startswith("encoder.layer.")}
    assert changed == {name for name in layers if "LayerNorm" not in name}
    assert len(changed) < len(layers)


@pytest.mark.parametrize("what", ["all", "linear"])
def test_every_bias_of_debertas_first_version_becomes_0(tmp_path: Path, what: str) -> None:
    # The biases of its queries and values are parameters of the attention, beside a map without a bias.
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    relative = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
    DebertaModel(DebertaConfig(vocab_size=30, **sizes, **relative)).save_pretrained(tmp_path)
    backbone = load(tmp_path)
    config = ReinitConfig.model_validate({"num_layers": 1, "what": what})
    changed = changed_by(backbone, config)
    top = {name for name, _ in backbone.named_parameters() if name.startswith("encoder.layer.1.")}
    assert changed == {name for name in top if what == "all" or "LayerNorm" not in name}
    biases = {name for name in changed if name.endswith("bias")}
    assert {"encoder.layer.1.attention.self.q_bias", "encoder.layer.1.attention.self.v_bias"} < biases
    assert all(backbone.get_parameter(name).eq(0).all() for name in biases)
    pretrained = trained_from_pretrained(backbone, config)
    assert {name for name, parameter in backbone.named_parameters() if parameter not in pretrained} == changed


def test_of_no_layer_changes_nothing(tiny_deberta: Path) -> None:
    backbone = load_backbone(BackboneConfig(name=str(tiny_deberta)), 0, (), 64)
    reinitialise_top_layers(backbone, ReinitConfig())
    stored = load_file(tiny_deberta / "model.safetensors")
    assert all(torch.equal(parameter, stored[name]) for name, parameter in backbone.named_parameters())


def test_popular_forms_do_nothing(tiny_deberta: Path) -> None:
    # FB3's 1st place: called on the layer, which is no Linear, instead of on all that is in it.
    backbone = load(tiny_deberta)
    before = {name: parameter.clone() for name, parameter in backbone.named_parameters()}
    layer = encoder_layers(backbone)[1]
    backbone._init_weights(layer)
    # And with `apply`, but on weights that transformers has marked as loaded.
    layer.apply(backbone._init_weights)
    assert all(torch.equal(parameter, before[name]) for name, parameter in backbone.named_parameters())
    assert len(changed_by(backbone, ReinitConfig(num_layers=1))) == len(list(layer.parameters()))


@pytest.mark.parametrize(
    ("init", "std"),
    [
        # A map from 64 to 32 features.
        ("normal", 0.02),
        ("xavier", math.sqrt(2 / (64 + 32))),
        ("kaiming", math.sqrt(2 / 64)),
        ("orthogonal", math.sqrt(1 / 64)),
    ],
)
@pytest.mark.parametrize("what", ["all", "linear"])
def test_distributions(tiny_deberta: Path, init: str, std: float, what: str) -> None:
    backbone = load(tiny_deberta)
    changed_by(backbone, ReinitConfig.model_validate({"num_layers": 1, "init": init, "what": what}))
    dense = encoder_layers(backbone)[1].get_submodule("output.dense")
    assert isinstance(dense, nn.Linear)
    assert dense.weight.shape == (32, 64)
    assert dense.weight.std().item() == pytest.approx(std, rel=0.05)
    assert dense.bias.eq(0).all()
    if init == "orthogonal":
        torch.testing.assert_close(dense.weight @ dense.weight.T, torch.eye(32), atol=1e-5, rtol=0)
    if init == "xavier":
        assert dense.weight.abs().max().item() <= math.sqrt(6 / (64 + 32))


@pytest.mark.parametrize(("what", "kept"), [("all", set()), ("linear", {"LayerNorm"})])
def test_what_is_trained_from_pretrained_weights(tiny_deberta: Path, what: str, kept: set[str]) -> None:
    backbone = load(tiny_deberta)
    backbone.embeddings.requires_grad_(False)
    config = ReinitConfig.model_validate({"num_layers": 1, "what": what})
    found = trained_from_pretrained(backbone, config)
    names = {name for name, parameter in backbone.named_parameters() if parameter in found}
    top = {name for name in names if name.startswith("encoder.layer.1.")}
    assert {name.split(".")[-2] for name in top} == kept
    assert names - top == {
        name for name, _ in backbone.named_parameters() if not name.startswith(("embeddings.", "encoder.layer.1."))
    }
