"""One disk budget for a whole study: the best complete trials keep their weights, as many as fit beside all the rest.

The rest is what may not go: the checkpoints of trials under way, the results, and whatever else lies beside them. Sizes
are those of the files as they are, read anew where an event changes them. Weights that have gone do not come back when
there is room again.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate

from ell_tune.files.artifacts import WEIGHTS_ITEM, ArtifactFolder, all_item_sizes
from ell_tune.studies.study import job_name
from ell_tune.trials.ranking import ranked
from ell_tune.trials.records import TrialRecord, TrialState


def num_kept(weights_bytes: Sequence[int], other_bytes: int, budget_bytes: float) -> int:
    """How many trials keep their weights: the longest beginning of the ranking that fits beside everything else.

    Args:
        weights_bytes: the size of each trial's weights, the best trial first.
    """
    return sum(other_bytes + total <= budget_bytes for total in accumulate(weights_bytes))


class KeptWeights:
    """The weights that the trials of a study keep, and all else that lies beside them."""

    def __init__(self, root: str, budget_bytes: float, trials: Iterable[TrialRecord]) -> None:
        """Looks at what there is and makes it fit.

        Args:
            root: of the trials' artifact folders.
            trials: all of the study.
        """
        self._root = root
        self._budget_bytes = budget_bytes
        self._bytes = all_item_sizes(root)  # job name → item → bytes
        self._all_bytes = sum(sum(items.values()) for items in self._bytes.values())
        self._keepers: dict[int, TrialRecord] = {}  # by number
        for trial in trials:
            if trial.state != TrialState.RUNNING and WEIGHTS_ITEM in self._bytes.get(job_name(trial.number), {}):
                self._take_in(trial)
        num_before = len(self._keepers)
        self._make_fit()
        self.num_dropped = num_before - len(self._keepers)  # trials that lost their weights just now

    @property
    def is_over(self) -> bool:
        """Whether what may not go is more than the budget by itself."""
        return self._all_bytes > self._budget_bytes

    def changed(self, trial_number: int) -> None:
        """Takes note of a trial under way that has saved its state."""
        self._measure(trial_number)
        self._make_fit()

    def ended(self, trial: TrialRecord) -> None:
        """Takes note of a trial that has ended, and whose checkpoints are gone."""
        self._take_in(trial)
        self._make_fit()

    def _take_in(self, trial: TrialRecord) -> None:
        folder = self._folder(trial.number)
        # What is left of half-written or half-deleted ones goes, and those of a worker that was lost once too often.
        if trial.state == TrialState.COMPLETE and WEIGHTS_ITEM in folder.names():
            self._keepers[trial.number] = trial
        else:
            folder.delete(WEIGHTS_ITEM)
        self._measure(trial.number)

    def _measure(self, trial_number: int) -> None:
        name, now = job_name(trial_number), self._folder(trial_number).item_sizes()
        self._all_bytes += sum(now.values()) - sum(self._bytes.get(name, {}).values())
        self._bytes[name] = now

    def _make_fit(self) -> None:
        best_first = ranked(list(self._keepers.values()))
        weights_bytes = [self._bytes[job_name(trial.number)][WEIGHTS_ITEM] for trial in best_first]
        kept = num_kept(weights_bytes, self._all_bytes - sum(weights_bytes), self._budget_bytes)
        for trial in reversed(best_first[kept:]):
            self._folder(trial.number).delete(WEIGHTS_ITEM)
            del self._keepers[trial.number]
            self._measure(trial.number)

    def _folder(self, trial_number: int) -> ArtifactFolder:
        return ArtifactFolder(self._root, job_name(trial_number))
