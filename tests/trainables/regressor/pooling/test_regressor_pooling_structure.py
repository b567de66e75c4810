"""Poolings that follow sentences and paragraphs: their maths by hand."""

import torch
from poolings import build, essays, states
from torch import Tensor, nn

from trainables.regressor.pooling.structure import segment_means

ENDS = [
    [0, 1, 0, 2, 1, 2],
    [0, 0, 1, 0, 0, 0],
]  # sentences of 2, 2, 1, 1 tokens; the second essay: of 3, and 2 left over


def test_segment_means_by_hand() -> None:
    hidden_BTD = torch.tensor([[1.0, 3.0, 10.0, 20.0, 7.0, 9.0], [1.0, 2.0, 3.0, 8.0, 4.0, 99.0]]).unsqueeze(-1)
    batch = essays(6, 5, ends=ENDS)
    sentence_BSD, num_sentences_B = segment_means(hidden_BTD, batch.mask_BT, batch.ends_BT >= 1)
    assert sentence_BSD[:, :, 0].tolist() == [[2.0, 15.0, 7.0, 9.0], [2.0, 6.0, 0.0, 0.0]]
    assert num_sentences_B.tolist() == [4, 2]
    paragraph_BSD, num_paragraphs_B = segment_means(hidden_BTD, batch.mask_BT, batch.ends_BT >= 2)
    torch.testing.assert_close(paragraph_BSD[:, :, 0], torch.tensor([[8.5, 8.0], [3.6, 0.0]]))
    assert num_paragraphs_B.tolist() == [2, 1]


def test_multiscale_is_the_average_of_three_views() -> None:
    pooling = build("multiscale")
    hidden_states = states(2, 6)
    pooled_BP = pooling(hidden_states, essays(6, 5, ends=ENDS))

    def read(name: str, last_TD: Tensor, *stops: int) -> Tensor:
        lstm = pooling.get_submodule(name)
        assert isinstance(lstm, nn.LSTM)
        means = [last_TD[a:b].mean(dim=0) for a, b in zip((0, *stops), stops, strict=False)]
        output: Tensor = lstm(torch.stack(means)[None])[0][0, -1]
        return output

    first_TD, second_TD = hidden_states[-1][0], hidden_states[-1][1, :5]
    first = first_TD.mean(dim=0) + read("paragraphs", first_TD, 4, 6) + read("sentences", first_TD, 2, 4, 5, 6)
    second = second_TD.mean(dim=0) + read("paragraphs", second_TD, 5) + read("sentences", second_TD, 3, 5)
    torch.testing.assert_close(pooled_BP, torch.stack([first, second]) / 3)


def test_multiscale_sees_where_sentences_end() -> None:
    pooling, hidden_states = build("multiscale"), states(1, 4)
    one, two = (pooling(hidden_states, essays(4, ends=[ends])) for ends in ([0, 0, 0, 2], [0, 1, 0, 2]))
    assert not torch.allclose(one, two, atol=1e-3)
