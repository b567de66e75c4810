"""The faster attention against transformers' own: outputs, gradients, and all that handles a model."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from deberta_pairs import ARCHITECTURES, make_pair, run
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from transformers import BertConfig, BertModel, PreTrainedModel
from transformers.models.deberta_v2 import modeling_deberta_v2
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention

from trainables import regressor
from trainables.regressor.encoder import disentangled_attention, relative_windows
from trainables.regressor.encoder.backbone import BackboneConfig, load_backbone
from trainables.regressor.encoder.disentangled_attention import FastDisentangledSelfAttention, accelerate_attention
from trainables.regressor.encoder.disentangled_kernels import attend_batched
from trainables.regressor.encoder.relative_windows import RelativeWindows
from trainables.regressor.weights import load_regressor


def make_batch(num_tokens: int) -> tuple[Tensor, Tensor]:
    """Four essays: a full one, two that end early, one that also starts late."""
    generator = torch.Generator().manual_seed(1)
    tokens_BT = torch.randint(1, 50, (4, num_tokens), generator=generator)
    mask_BT = torch.ones(4, num_tokens, dtype=torch.long)
    mask_BT[1, num_tokens - num_tokens // 4 :] = 0
    mask_BT[2, 1:] = 0
    mask_BT[3, : num_tokens // 3] = 0
    return tokens_BT, mask_BT


def assert_same(reference: PreTrainedModel, fast: PreTrainedModel, num_tokens: int, **tolerance: float) -> None:
    batch = make_batch(num_tokens)
    states, gradients = run(reference, *batch)
    fast_states, fast_gradients = run(fast, *batch)
    torch.testing.assert_close(fast_states, states, **tolerance)
    torch.testing.assert_close(fast_gradients, gradients, **tolerance)


@pytest.fixture(params=["per essay", "batched", "batched, in a GPU's windows"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "per essay":
        monkeypatch.setattr(disentangled_attention, "attend_per_essay", attend_batched)
    if request.param == "batched, in a GPU's windows":
        monkeypatch.setattr(relative_windows, "_MAX_ROWS_ON_CPU", relative_windows._MAX_ROWS_ON_GPU)
    return str(request.param)


# One token; below and above half a bucket table, where buckets start; above a block of 64; of 128, and all positions.
@pytest.mark.parametrize("num_tokens", [1, 5, 23, 70, 150])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_outputs_and_gradients_are_transformers(architecture: str, num_tokens: int, kernel: str) -> None:
    reference, fast = make_pair(**ARCHITECTURES[architecture])
    assert_same(reference, fast, num_tokens, rtol=1e-9, atol=1e-9)


def test_the_gradients_compared_are_those_of_every_parameter() -> None:
    reference, fast = make_pair(**ARCHITECTURES["own projections"])
    _, gradients = run(fast, *make_batch(23))
    assert gradients.keys() == {name for name, _ in reference.named_parameters()}
    assert all(gradient.abs().max() > 1e-6 for name, gradient in gradients.items() if "key_proj.bias" not in name)


def test_in_float32(kernel: str) -> None:
    reference, fast = make_pair(torch.float32, **ARCHITECTURES["v3"])
    batch = make_batch(70)
    states, gradients = run(reference, *batch)
    fast_states, fast_gradients = run(fast, *batch)
    torch.testing.assert_close(fast_states, states, rtol=1e-5, atol=1e-5)
    for name, gradient in gradients.items():  # a parameter's gradient is a sum over all tokens
        torch.testing.assert_close(fast_gradients[name], gradient, rtol=1e-5, atol=1e-5 * gradient.abs().max().item())


def test_without_gradients(kernel: str) -> None:
    reference, fast = make_pair(**ARCHITECTURES["v3"])
    tokens_BT, mask_BT = make_batch(70)
    with torch.inference_mode():
        expected = reference(input_ids=tokens_BT, attention_mask=mask_BT).last_hidden_state
        found = fast(input_ids=tokens_BT, attention_mask=mask_BT).last_hidden_state
    torch.testing.assert_close(found[mask_BT.bool()], expected[mask_BT.bool()], rtol=1e-9, atol=1e-9)


def test_frozen_positions_get_no_gradient_and_change_no_other() -> None:
    reference, fast = make_pair(**ARCHITECTURES["own projections"])
    for backbone in (reference, fast):
        for name, parameter in backbone.named_parameters():
            parameter.requires_grad = "layer.0." not in name and "rel_embeddings" not in name
    assert_same(reference, fast, 70, rtol=1e-9, atol=1e-9)


def test_half_precision_is_as_near_as_transformers_own() -> None:
    exact, _ = make_pair(torch.float64, **ARCHITECTURES["v3"])
    reference, fast = make_pair(torch.float32, **ARCHITECTURES["v3"])
    batch = make_batch(70)
    expected = run(exact, *batch)[0][-1].float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        errors = [(run(model, *batch)[0][-1] - expected).square().mean().sqrt() for model in (reference, fast)]
    assert errors[1] < 1.2 * errors[0]


def test_dropout_leaves_the_expected_output() -> None:
    _, fast = make_pair(torch.float32, **ARCHITECTURES["v3"], attention_probs_dropout_prob=0.5)
    attention = fast.get_submodule("encoder.layer.0.attention.self")
    torch.manual_seed(0)
    hidden_BTE = torch.randn(1, 20, 24)
    inputs: dict[str, Any] = {
        "hidden_states": hidden_BTE,
        "attention_mask": torch.ones(1, 1, 20, 20),
        "relative_pos": torch.arange(20)[:, None] - torch.arange(20)[None, None],
        "rel_embeddings": torch.randn(32, 24),
    }
    with torch.no_grad():
        draws = torch.stack([attention(**inputs)[0] for _ in range(4000)])
        expected = attention.eval()(**inputs)[0]
    assert draws.std(dim=0).mean() > 0.1
    error = (draws.mean(dim=0) - expected) / (draws.std(dim=0) / 4000**0.5)
    assert error.abs().mean() == pytest.approx((2 / torch.pi) ** 0.5, rel=0.15)  # of a standard normal


def test_gradient_checkpointing_changes_nothing() -> None:
    reference, fast = make_pair(**ARCHITECTURES["v3"])
    fast.activation_checkpointing_enable()
    assert_same(reference, fast, 70, rtol=1e-9, atol=1e-9)


def test_attentions_are_still_to_be_had() -> None:
    reference, fast = make_pair(**ARCHITECTURES["v3"])
    expected = reference(input_ids=make_batch(9)[0], output_attentions=True).attentions
    torch.testing.assert_close(fast(input_ids=make_batch(9)[0], output_attentions=True).attentions, expected)


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), lambda model: AveragedModel(model).module],
    ids=["deepcopy", "pickle", "averaged"],
)
def test_copies_are_fast_too(copied: Callable[[nn.Module], PreTrainedModel]) -> None:
    reference, fast = make_pair(**ARCHITECTURES["v3"])
    twin = copied(fast)
    assert num_fast(twin) == 2
    assert_same(reference, twin, 23, rtol=1e-9, atol=1e-9)


def test_names_and_weights_stay() -> None:
    reference, fast = make_pair(**ARCHITECTURES["own projections"])
    assert list(fast.state_dict()) == list(reference.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(fast.parameters(), reference.parameters(), strict=True))


def test_attention_without_positions_stays() -> None:
    for fields in ({"relative_attention": False}, {"pos_att_type": []}):
        assert num_fast(make_pair(**fields)[1]) == 0
    bert = BertModel(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1))
    accelerate_attention(bert)
    assert num_fast(bert) == 0


@pytest.mark.parametrize("fast", [True, False])
def test_the_config_decides(tiny_deberta: Path, fast: bool) -> None:
    backbone = load_backbone(BackboneConfig(name=str(tiny_deberta), fast_attention=fast), 0, (), 64)
    assert sum(isinstance(module, DisentangledSelfAttention) for module in backbone.modules()) == 2
    assert num_fast(backbone) == (2 if fast else 0)


def test_fit_and_prediction_score_as_with_transformers_attention(
    make_config: Callable[..., regressor.Config],
    make_fold_data: Callable[..., Any],
    make_checkpoints: Callable[..., Any],
    essays: list[str],
) -> None:
    predictions = {}
    for fast in (True, False):
        config = make_config(backbone={"fast_attention": fast})
        result = regressor.fit(config, make_fold_data(config), make_checkpoints(str(fast)), lambda _: None)
        assert num_fast(load_regressor(result.weights_dir)[1]) == (2 if fast else 0)
        predictions[fast] = torch.from_numpy(regressor.predict(result.weights_dir, essays))
    torch.testing.assert_close(predictions[True], predictions[False], rtol=1e-3, atol=1e-3)


def num_fast(model: nn.Module) -> int:
    return sum(isinstance(module, FastDisentangledSelfAttention) for module in model.modules())


def test_distances_are_made_once_for_all_lengths_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, fast = make_pair(**ARCHITECTURES["v3"])
    made = []
    build = modeling_deberta_v2.build_relative_position

    def counted(*args: Any, **options: Any) -> Tensor:
        made.append(args[0].shape[-2])
        distances: Tensor = build(*args, **options)
        return distances

    expected = {n: reference.encoder.get_rel_pos(torch.zeros(1, n, 1)) for n in (40, 33, 7, 64, 65)}
    monkeypatch.setattr(modeling_deberta_v2, "build_relative_position", counted)
    for num_tokens, distances_1TT in expected.items():
        assert torch.equal(fast.encoder.get_rel_pos(torch.zeros(1, num_tokens, 1)), distances_1TT)
    assert made == [64, 128]


def test_all_layers_share_the_rows_that_they_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    _, fast = make_pair(**ARCHITECTURES["v3"])
    made = []
    distances = RelativeWindows.distances

    def counted(windows: RelativeWindows) -> Tensor:
        made.append(windows.num_tokens)
        return distances(windows)

    monkeypatch.setattr(RelativeWindows, "distances", counted)
    for num_tokens in (40, 23, 40):
        run(fast, *make_batch(num_tokens))
    assert made == [40, 23, 40]


def test_distances_made_in_an_evaluation_serve_the_training() -> None:
    _, fast = make_pair(**ARCHITECTURES["v3"])
    tokens_BT, mask_BT = make_batch(40)
    with torch.inference_mode():
        fast(tokens_BT, attention_mask=mask_BT)
    fast(tokens_BT, attention_mask=mask_BT).last_hidden_state.sum().backward()
    assert fast.encoder.rel_embeddings.weight.grad is not None


def test_given_distances_that_an_evaluation_saw_serve_the_training() -> None:
    _, fast = make_pair(**ARCHITECTURES["v3"])
    distances_1TT = fast.encoder.get_rel_pos(torch.zeros(1, 12, 24))
    states_BTE, mask_BT = torch.randn(2, 12, 24, dtype=torch.float64), torch.ones(2, 12)
    with torch.inference_mode():
        fast.encoder(states_BTE, mask_BT, relative_pos=distances_1TT)
    fast.encoder(states_BTE, mask_BT, relative_pos=distances_1TT).last_hidden_state.sum().backward()
    assert fast.encoder.rel_embeddings.weight.grad is not None
