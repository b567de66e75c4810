"""The names of a trial's user attributes in a study's journal.

Optuna's own state of a trial is what its sampler is told (`ell_tune.choosing.telling`); what became of it stands here.
"""

CONFIG = "config"  # where it differs from the study's base config: dotted path → value
# Of its last evaluation: num_steps, seconds, device_seconds, search_seconds, and measures; the training time of each
# (`step_seconds`); where the scheduler stops it, the step and why (`stopped`).
USAGE = "usage"
OUTCOME = "outcome"  # the `TrialState` that it ended in
REASON = "reason"  # why it was stopped, failed or broke off
# Of a trial that failed because it breaks a constraint: its `outcome`, `reason`, Optuna `state` and `value` before an
# edit tightened that; empty where it ended for it.
BROKEN = "broken_constraint"
MISFIT = "misfit"  # what its `params`, Optuna `state` and `value` were before an edit of the space that it does not fit
EDIT_MADE = "edit_made"  # of a study, not of a trial: study.json knows of this edit of the space
DUPLICATE_OF = "duplicate_of"  # the number of an earlier trial with the same config: it was not run
