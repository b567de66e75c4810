import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

from trainables.regressor.encoder.relative_windows import RelativeWindows

CPU = torch.device("cpu")


def distance_of_pairs(num_tokens: int) -> torch.Tensor:
    position_T = torch.arange(num_tokens)
    return position_T[:, None] - position_T


@pytest.mark.parametrize(
    ("num_tokens", "num_rows", "num_blocks", "width"),
    [(1, 1, 1, 1), (64, 64, 1, 127), (65, 33, 2, 97), (129, 43, 3, 171), (450, 57, 8, 506), (512, 64, 8, 575)],
)
def test_blocks_are_even(num_tokens: int, num_rows: int, num_blocks: int, width: int) -> None:
    windows = RelativeWindows(num_tokens, CPU)
    assert (windows.num_rows, windows.num_blocks, windows.width) == (num_rows, num_blocks, width)


def test_a_gpu_looks_up_at_most_3072_rows_for_512_tokens() -> None:
    windows = RelativeWindows(512, torch.device("cuda"))
    assert (windows.num_rows, windows.num_blocks, windows.width) == (128, 4, 639)
    assert windows.num_blocks * windows.width <= 3072


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400), st.integers(1, 3))
def test_every_pair_of_tokens_meets_its_own_distance(num_tokens: int, num_heads: int) -> None:
    windows = RelativeWindows(num_tokens, CPU)
    distance_MW = windows.distances()
    product_GRW = distance_MW[:, None].expand(-1, windows.num_rows, -1).repeat(num_heads, 1, 1)
    found_HTT = torch.full((num_heads, num_tokens, num_tokens), -num_tokens)
    for scores, product in windows.pairs(found_HTT, product_GRW):
        scores.copy_(product)
    assert torch.equal(found_HTT, distance_of_pairs(num_tokens).expand(num_heads, -1, -1))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200))
def test_blocks_and_back(num_tokens: int) -> None:
    windows = RelativeWindows(num_tokens, CPU)
    x_BHTD = torch.arange(2 * 3 * num_tokens * 2.0).view(2, 3, num_tokens, 2)
    blocks_BGRD = windows.blocks(x_BHTD)
    assert blocks_BGRD.shape == (2, 3 * windows.num_blocks, windows.num_rows, 2)
    assert torch.equal(windows.tokens(blocks_BGRD[1]), x_BHTD[1])


def test_distances_of_padding_stay_within_the_essay() -> None:
    # DeBERTa tells buckets for the distances of an essay's tokens only.
    windows = RelativeWindows(130, CPU)
    assert windows.num_blocks * windows.num_rows > 130
    distance_MW = windows.distances()
    assert (distance_MW.min().item(), distance_MW.max().item()) == (-129, 129)


def test_windows_of_a_table_are_its_rows_by_head() -> None:
    windows = RelativeWindows(3, CPU)
    table_SE = torch.arange(5 * 4.0).view(5, 4)
    index_MW = windows.distances() + 2
    windows_GWD = windows.of_table(table_SE, index_MW, num_heads=2)
    assert index_MW.tolist() == [[4, 3, 2, 1, 0]]
    assert torch.equal(windows_GWD, torch.stack([table_SE.flip(0)[:, :2], table_SE.flip(0)[:, 2:]]))


def test_buckets_are_odd_in_the_distance() -> None:
    # Why one rule serves c2p and p2c: the bucket of −d is minus the bucket of d.
    tokens_TD = torch.empty(600, 1)
    relative_TT = build_relative_position(tokens_TD, tokens_TD, bucket_size=16, max_position=512)[0]
    assert torch.equal(relative_TT, -relative_TT.T)
