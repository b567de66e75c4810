"""What a figure's tooltips and labels say, safe to hand to Plotly."""

from html import escape

from analysis.fields import short_labels, show
from ell_tune.trials.front import trial_cost
from ell_tune.trials.records import StudyRecord, TrialRecord


def plain(text: str) -> str:
    """Text for a figure, none of which Plotly reads as the subset of HTML (links too) that it knows."""
    return escape(text, quote=False)


def describe(trial: TrialRecord, study: StudyRecord) -> str:
    """A trial's tooltip: its state, its score at its fidelity, why it ended, and its searched values."""
    steps = f"{trial.steps} of {study.num_steps} evaluations"
    lines = [
        f"<b>trial {trial.number}</b> · {trial.state.value}",
        f"no score after {steps}" if trial.score is None else f"score {trial.score:.4f} after {steps}",
    ]
    cost = None if study.cost is None else trial_cost(trial, study.cost)
    if cost is not None:
        lines.append(f"{study.cost} {cost:.4g}")
    if trial.reason:
        lines.append(shortened(trial.reason, 80))
    labels = short_labels(study.searched)
    lines += [f"{shortened(labels[path], 40)} = {shortened(show(value), 40)}" for path, value in trial.params.items()]
    return "<br>".join(lines)


def shortened(text: str, max_chars: int) -> str:
    """Plain text for a figure, cut where it is longer than it may be."""
    return plain(text if len(text) <= max_chars else text[: max_chars - 1] + "…")
