"""A vector of its own for each target, from the pooling to the score."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fits import run
from poolings import build, layers_of
from poolings import essays as batch_of

from ell_tune.trainable import FoldData
from trainables.regressor import Config, predict
from trainables.regressor.building import build_regressor
from trainables.regressor.essays.batches import pad
from trainables.regressor.losses import Loss
from trainables.regressor.optimization.parameter_groups import parameter_table

POOLING = {"name": "per_target", "num_layers": 2}


def test_each_target_has_its_layer_weights_and_norm() -> None:
    pooling = build(**POOLING, width=2, depth=2)
    with torch.no_grad():
        pooling.get_parameter("layer_logits.1").copy_(torch.tensor([-50.0, 0.0]))
        pooling.get_parameter("norms.1.weight").copy_(torch.tensor([3.0, 5.0]))
        pooling.get_parameter("norms.1.bias").copy_(torch.tensor([0.0, 1.0]))
    hidden_states = layers_of([[9.0, 9.0], [9.0, 9.0]], [[4.0, 0.0], [-8.0, 0.0]], [[8.0, 0.0], [-4.0, 0.0]])
    hidden_states[2][0, 1] = torch.tensor([6.0, 0.0])
    # Normalised, two features are ±1. Target 0 mixes evenly to [6, 0] and [-1, 0]: the mean of [1, -1] and [-1, 1].
    # Target 1 has the top layer alone, [8, 0] and [6, 0]: [1, -1] twice, times [3, 5] plus [0, 1].
    pooled_CP = pooling(hidden_states, batch_of(2))[0]
    torch.testing.assert_close(pooled_CP, torch.tensor([[0.0, 0.0], [3.0, -4.0]]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_each_score_is_read_off_its_own_vector(
    make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData], layer_norm: bool
) -> None:
    config = make_config(pooling=POOLING, head={"layer_norm": layer_norm})
    fold_data = make_fold_data(config)
    model = build_regressor(config, fold_data.prepared, torch.tensor([3.0, 2.0]), (1.0, 5.0), seed=0).eval()
    batch = pad(fold_data.prepared["first"], np.arange(4), torch.device("cpu"))
    encoder = model.encoders["first"]
    hidden_states = encoder.backbone(batch.tokens_BT, batch.mask_BT.long(), output_hidden_states=True).hidden_states
    pooled_BCP = model.norms["first"](encoder.pooling(hidden_states, batch))
    score_BC = model({"first": batch})
    for target, mean in enumerate([3.0, 2.0]):
        expected_B = mean + pooled_BCP[:, target] @ model.head.output.weight[target] + model.head.output.bias[target]
        torch.testing.assert_close(score_BC[:, target], expected_B)

    score_BC[:, 0].sum().backward()
    gradients = {name: p.grad for name, p in encoder.pooling.named_parameters() if p.grad is not None}
    assert {name for name, gradient in gradients.items() if gradient.abs().sum() > 0} == {
        "layer_logits.0",
        "norms.0.weight",
        "norms.0.bias",
    }


def test_layer_weights_and_norms_do_not_decay(
    make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData]
) -> None:
    config = make_config(pooling=POOLING, optimizer={"weight_decay": 0.1})
    model = build_regressor(config, make_fold_data(config).prepared, torch.zeros(2), (1.0, 5.0), seed=0)
    decay = {
        name: row.weight_decay
        for row in parameter_table(model, Loss(config.loss, ("a", "b"), (1.0, 5.0)), config)
        for name in row.parameters
        if name.startswith("encoders.first.pooling.")
    }
    assert len(decay) == 2 * 3
    assert set(decay.values()) == {0.0}


def test_it_survives_the_folder(
    make_config: Callable[..., Config],
    make_fold_data: Callable[..., FoldData],
    make_checkpoints: Callable[..., Any],
    essays: list[str],
) -> None:
    config = make_config(pooling=POOLING)
    _, result = run(config, make_fold_data(config), make_checkpoints())
    assert result is not None
    np.testing.assert_allclose(predict(result.weights_dir, essays[30:]), result.oof_MC, atol=1e-5)
