"""One contract for every pooling, and for every form of it."""

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from poolings import HIDDEN_SIZE, NUM_LAYERS, NUM_TARGETS, build, essays, states
from torch import Tensor, nn
from transformers import DebertaV2Config, DebertaV2Model

from ell_tune.errors import BadConfig
from trainables.regressor.essays.batches import Batch
from trainables.regressor.pooling import Pooling, PoolingConfig

Encoder = Callable[[Batch], Any]

CONFIGS = {config.model_fields["name"].default: config for config in get_args(get_args(PoolingConfig)[0])}
SMALL: dict[str, dict[str, Any]] = {  # what must be smaller than its default, or is for a quick test
    "mean_last": {"num_layers": 3},
    "lstm": {"hidden_size": 8},
    "depth_attention": {"size": 8},
    "token_lstm": {"hidden_size": 8},
    "conv1d": {"hidden_channels": 8, "out_channels": 8},
}


def forms(name: str) -> list[dict[str, Any]]:
    """The pooling's defaults, and each other value of each field that takes one of several words."""
    default = {"name": name, **SMALL.get(name, {})}
    words = {field: (get_args(info.annotation), info.default) for field, info in CONFIGS[name].model_fields.items()}
    others = [{**default, field: word} for field, (choice, first) in words.items() for word in choice if word != first]
    return [default, *others]


VARIANTS = [form for name in CONFIGS for form in forms(name)]


def label(form: dict[str, Any]) -> str:
    return " ".join(str(value) for value in form.values())


def test_every_pooling_is_under_contract() -> None:
    expected = """mean cls max min mean_max mean_max_min mean_max_cls attention attention_mean gem weighted_layers
        concat_last mean_last lstm depth_attention token_lstm conv1d multiscale per_target"""
    assert list(CONFIGS) == expected.split()
    assert {name: len(forms(name)) for name in CONFIGS if len(forms(name)) > 1} == {
        "weighted_layers": 6,
        "concat_last": 3,
        "mean_last": 3,
        "lstm": 2,
        "token_lstm": 2,
    }


@pytest.mark.parametrize("form", VARIANTS, ids=label)
class TestContract:
    def test_shape_and_type(self, form: dict[str, Any]) -> None:
        pooling = build(**form)
        pooled = pooling(states(2, 5), essays(5, 3))
        assert pooled.shape == ((2, NUM_TARGETS, pooling.width) if pooling.per_target else (2, pooling.width))
        assert pooled.dtype == torch.float32

    def test_padding_changes_nothing(self, form: dict[str, Any]) -> None:
        pooling = build(**form)
        short = states(1, 3)
        # The same essay beside a longer one, its padding full of large numbers.
        padded = [torch.cat([layer, torch.full((1, 4, HIDDEN_SIZE), 1e3)], dim=1) for layer in short]
        together = [torch.cat([layer, other]) for layer, other in zip(padded, states(1, 7, seed=1), strict=True)]
        alone, beside = pooling(short, essays(3))[0], pooling(together, essays(3, 7))[0]
        torch.testing.assert_close(beside, alone, rtol=1e-5, atol=1e-6)

    def test_the_last_num_states_are_all_that_it_reads(self, form: dict[str, Any]) -> None:
        pooling = build(**form)
        hidden_states, batch = states(2, 6), essays(6, 4)
        alone = pooling(hidden_states[-pooling.num_states :], batch)
        assert torch.equal(alone, pooling(hidden_states, batch))

    def test_all_but_one_token_masked(self, form: dict[str, Any]) -> None:
        pooling = build(**form)
        hidden_states = states(1, 6)
        one = Batch(torch.ones(1, 6), torch.arange(6)[None] < 1, torch.zeros(1, 6, dtype=torch.uint8))
        alone = pooling([layer[:, :1] for layer in hidden_states], essays(1))
        torch.testing.assert_close(pooling(hidden_states, one), alone)

    def test_only_the_hidden_states_are_pooled_not_the_ids(self, form: dict[str, Any]) -> None:
        pooling = build(**form)
        hidden_states = states(2, 5)
        assert torch.equal(pooling(hidden_states, essays(5, 3, seed=1)), pooling(hidden_states, essays(5, 3, seed=2)))

    def test_gradient_reaches_every_parameter_and_no_padding(self, form: dict[str, Any]) -> None:
        pooling = build(**form)
        hidden_states = [layer.requires_grad_() for layer in states(4, 6)]
        batch = essays(6, 5, 4, 1)
        pooling(hidden_states, batch).square().sum().backward()
        for name, parameter in pooling.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 1e-5, name
        last_gradient_BTD = hidden_states[-1].grad
        assert last_gradient_BTD is not None
        assert last_gradient_BTD[:, 0].abs().sum(dim=-1).gt(0).all()
        assert last_gradient_BTD[~batch.mask_BT].eq(0).all()

    def test_nothing_that_learns_hides_from_the_optimiser(self, form: dict[str, Any]) -> None:
        assert unregistered_tensors(build(**form)) == []

    def test_half_precision_stays_finite(self, form: dict[str, Any]) -> None:
        pooling = build(**form)
        half = [(100 * layer).bfloat16() for layer in states(2, 6)]
        pooled = pooling(half, essays(6, 2))  # the model ends the encoder's autocast before it pools
        assert pooled.dtype == torch.float32
        assert pooled.isfinite().all()

    def test_weights_survive_their_state_dict(self, form: dict[str, Any]) -> None:
        pooling, other = build(**form), build(**form, seed=1)
        with torch.no_grad():
            for parameter in pooling.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        hidden_states, batch = states(2, 6), essays(6, 4)
        if list(pooling.parameters()):
            assert not torch.equal(other(hidden_states, batch), pooling(hidden_states, batch))
        other.load_state_dict(pooling.state_dict())
        assert torch.equal(other(hidden_states, batch), pooling(hidden_states, batch))

    def test_padding_changes_nothing_behind_an_encoder(self, form: dict[str, Any], encoder: Encoder) -> None:
        pooling = build(**form)
        beside, alone = (pooling(encoder(batch), batch)[0] for batch in (essays(5, 8), essays(5)))
        torch.testing.assert_close(beside, alone, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """A DeBERTa that reads the same five tokens as the first essay of any batch."""
    torch.manual_seed(0)
    deberta = DebertaV2Model(
        DebertaV2Config(
            vocab_size=20,
            hidden_size=HIDDEN_SIZE,
            num_hidden_layers=NUM_LAYERS,
            num_attention_heads=2,
            intermediate_size=32,
            relative_attention=True,
            position_buckets=4,
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
            type_vocab_size=0,
        )
    ).eval()

    def encode(batch: Batch) -> Any:
        tokens_BT = batch.tokens_BT.clone()
        tokens_BT[0, :5] = torch.tensor([1, 7, 8, 9, 2])
        return deberta(tokens_BT, attention_mask=batch.mask_BT.long(), output_hidden_states=True).hidden_states

    return encode


def unregistered_tensors(module: nn.Module) -> list[str]:
    """Tensors that a module holds as plain attributes: no optimiser, device or state dict ever sees them."""
    return [name for part in module.modules() for name, value in vars(part).items() if isinstance(value, Tensor)]


def test_an_unregistered_parameter_would_be_found() -> None:
    class Buggy(nn.Module):
        """Popular notebooks convert after wrapping; where that copies, what is left is no parameter."""

        def __init__(self) -> None:
            super().__init__()
            self.query = nn.Parameter(torch.zeros(3, dtype=torch.float64)).float()

    assert list(Buggy().parameters()) == []
    assert unregistered_tensors(Buggy()) == ["query"]


@pytest.mark.parametrize("name", ["weighted_layers", "concat_last", "mean_last", "per_target"])
def test_more_layers_than_there_are(name: str) -> None:
    message = "pooling.num_layers: .*number of hidden states can be pooled, which is 4, but it is 5"
    with pytest.raises(BadConfig, match=message):
        build(name, num_layers=5)
    assert isinstance(build(name, num_layers=4), Pooling)
