"""HyperBand's brackets against tables worked by hand; the rungs of one bracket are tested with ASHA."""

from collections import Counter

import pytest

from ell_tune.choosing.hyperband import Hyperband, HyperbandConfig

# The brackets of trials 0 … 11 under the defaults of config and seed, as drawn when this test was written: they must
# stay, or a study that goes on would find its trials in other brackets.
BRACKETS = [0, 2, 1, 0, 0, 1, 2, 2, 0, 1, 0, 2]


def make(grace_frac: float = 0.25, reduction_factor: float = 2.0, seed: int = 42) -> Hyperband:
    return Hyperband(HyperbandConfig(grace_frac=grace_frac, reduction_factor=reduction_factor), seed)


@pytest.mark.parametrize(
    ("grace_frac", "reduction_factor", "num_steps", "rungs"),
    [
        (0.25, 2.0, 8, [(2, 4), (4,), ()]),
        (0.25, 2.0, 4, [(1, 2), (2,), ()]),
        (0.25, 2.0, 2, [(1,), (1,), ()]),
        (0.25, 2.0, 1, [(), (), ()]),
        (0.1, 3.0, 10, [(1, 3, 9), (3, 9), (9,), ()]),
        (0.5, 2.0, 4, [(2,), ()]),  # 0.5 * 2 is the whole schedule
        (1 / 3, 3.0, 9, [(3,), ()]),  # and so is 1/3 * 3, give or take a rounding error
        (1.0, 2.0, 4, [(), ()]),
    ],
)
def test_each_bracket_begins_a_reduction_later_than_the_last_and_one_never_stops(
    grace_frac: float, reduction_factor: float, num_steps: int, rungs: list[tuple[int, ...]]
) -> None:
    hyperband = make(grace_frac, reduction_factor)
    assert [bracket.rungs(num_steps) for bracket in hyperband._brackets] == rungs
    assert hyperband.rungs(num_steps) == rungs[0]


@pytest.mark.parametrize(
    ("grace_frac", "reduction_factor", "weights"),
    [
        # ceil((s_max + 1) / (s + 1) * factor**s) for s = s_max … 0 halvings.
        (0.25, 2.0, [4, 3, 3]),  # 3/3 * 4, 3/2 * 2, 3/1 * 1
        (0.1, 3.0, [27, 12, 6, 4]),  # 4/4 * 27, 4/3 * 9, 4/2 * 3, 4/1
        (1 / 16, 4.0, [16, 6, 3]),  # 3/3 * 16, 3/2 * 4, 3/1
        (0.5, 2.0, [2, 2]),
    ],
)
def test_brackets_share_trials_as_in_the_paper(grace_frac: float, reduction_factor: float, weights: list[int]) -> None:
    hyperband = make(grace_frac, reduction_factor)
    assert hyperband._weights == weights
    counts = Counter(hyperband.bracket_of(number) for number in range(3000))
    for bracket, weight in enumerate(weights):
        assert counts[bracket] / 3000 == pytest.approx(weight / sum(weights), abs=0.03)


def test_a_trial_is_in_the_same_bracket_after_a_restart() -> None:
    assert [make().bracket_of(number) for number in range(12)] == BRACKETS
    late_first = make()
    assert [late_first.bracket_of(number) for number in reversed(range(12))] == BRACKETS[::-1]


def test_each_seed_draws_its_own_brackets() -> None:
    drawn = {tuple(make(seed=seed).bracket_of(number) for number in range(12)) for seed in range(20)}
    assert len(drawn) == 20


def test_trials_compare_only_within_their_bracket() -> None:
    hyperband = make()
    early, late = [[n for n in range(12) if BRACKETS[n] == bracket] for bracket in (0, 1)]
    never = BRACKETS.index(2)
    assert hyperband.stops(late[0], 4, 8, 0.1) is None
    assert hyperband.stops(early[0], 4, 8, 0.5) is None  # 0.1 is another bracket's
    assert hyperband.stops(early[1], 4, 8, 0.6) == "not among the best 1 of 2 at the rung of step 4 (bracket 0)"
    assert hyperband.stops(late[1], 2, 8, 0.9) is None  # a rung of bracket 0 only
    assert hyperband.stops(late[1], 4, 8, 0.5) == "not among the best 1 of 2 at the rung of step 4 (bracket 1)"
    assert [hyperband.stops(never, step, 8, 9.0) for step in range(1, 9)] == [None] * 8
