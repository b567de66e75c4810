from synthetic_study import study, trial

from ell_tune.trials.ranking import best_trial, contenders, ranked
from ell_tune.trials.records import StudyRecord, TrialState

STOPPED, RUNNING, FAILED = TrialState.STOPPED, TrialState.RUNNING, TrialState.FAILED


def number_of_best(record: StudyRecord) -> int:
    best = best_trial(record.trials)
    assert best is not None
    return best.number


def test_only_complete_trials_lead_once_there_is_one() -> None:
    record = study(trial(0, 0.46), trial(1, 0.44, state=STOPPED, steps=4), trial(2, 0.45))
    assert [t.number for t in contenders(record.trials)] == [0, 2]
    assert number_of_best(record) == 2


def test_without_a_complete_trial_every_scored_one_leads_but_no_failed_one() -> None:
    record = study(
        trial(0, 0.40, state=FAILED), trial(1, None, state=RUNNING), trial(2, 0.47, state=RUNNING),
        trial(3, 0.46, state=STOPPED),
    )  # fmt: skip
    assert [t.number for t in contenders(record.trials)] == [2, 3]
    assert number_of_best(record) == 3


def test_the_first_of_equal_scores_is_best() -> None:
    assert number_of_best(study(trial(0, 0.45), trial(1, 0.45))) == 0


def test_ranked_puts_contenders_first_then_the_longest_then_failed() -> None:
    record = study(
        trial(0, 0.47),
        trial(1, 0.44, state=STOPPED, steps=4),
        trial(2, 0.46, state=STOPPED, steps=6),
        trial(3, None, state=FAILED),
        trial(4, 0.45),
        trial(5, 0.45, state=STOPPED, steps=6),
        trial(6, None, state=RUNNING),
    )
    assert [t.number for t in ranked(record.trials)] == [4, 0, 5, 2, 1, 6, 3]


def test_there_is_no_best_trial_before_the_first_score() -> None:
    assert best_trial(study(trial(0, None, state=RUNNING)).trials) is None
