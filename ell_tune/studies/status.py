"""`ell-tune status`: how a search stands, seen from another terminal or another machine."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ell_tune.files.artifacts import WEIGHTS_ITEM, all_item_sizes
from ell_tune.studies.study import Study, job_name, open_study
from ell_tune.studies.study_lock import holder
from ell_tune.trials.leaderboard import shown_state
from ell_tune.trials.progress import distinguishing, duration
from ell_tune.trials.ranking import best_trial, ranked
from ell_tune.trials.records import TrialRecord, TrialState


def status(study_dir: Path) -> dict[str, Any]:
    """How the study stands, as plain data.

    Raises:
        UserError: no study.
    """
    study = open_study(study_dir)
    record, searcher = study.record(), holder(study_dir)
    best, is_searched = best_trial(record.trials), searcher is not None
    last_event = datetime.fromtimestamp((study_dir / "journal.log").stat().st_mtime).astimezone()
    return {
        "study": record.name,
        "searched_by": searcher,
        "trials": dict(Counter(shown_state(trial, is_searched) for trial in record.trials)),
        "waiting": record.num_waiting,
        "asked_for": None if searcher is None else searcher.get("num_trials"),
        "search_seconds": round(record.search_seconds, 1),
        "device_seconds": round(sum(trial.device_seconds for trial in record.trials), 1),
        **_disk_use(study, record.trials),
        "last_event": last_event.isoformat(timespec="seconds"),
        "best": None if best is None else _summary(best, is_searched),
        "under_way": [_summary(trial, is_searched) for trial in record.trials if trial.state == TrialState.RUNNING],
    }


def _disk_use(study: Study, trials: Sequence[TrialRecord]) -> dict[str, Any]:
    sizes = all_item_sizes(study.artifacts)
    leaving = [trial for trial in ranked(trials) if WEIGHTS_ITEM in sizes.get(job_name(trial.number), {})]
    return {
        "artifact_bytes": sum(sum(items.values()) for items in sizes.values()),
        "with_weights": [
            trial.number
            for trial in leaving
            if trial.state == TrialState.COMPLETE and WEIGHTS_ITEM in study.artifact_folder(trial.number).names()
        ],
    }


def _summary(trial: TrialRecord, is_searched: bool) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": shown_state(trial, is_searched),
        "score": trial.score,
        "steps": trial.steps,
        "num_steps": trial.num_steps,
        "seconds": round(trial.seconds, 1),
        "reason": trial.reason,
        "fields": distinguishing(trial),
    }


def as_lines(found: dict[str, Any], now: datetime) -> list[str]:
    """`status` for a person, some lines."""
    counts, asked_for = found["trials"], found["asked_for"]
    ended = sum(counts.values()) - len(found["under_way"])
    lines = [f"{found['study']}: {_listed(counts)}; {ended}{f' of {asked_for}' if asked_for else ''} ended"]
    if found["waiting"]:
        lines.append(f"{found['waiting']} enqueued and not started")
    if found["searched_by"] is not None:
        who = found["searched_by"]
        lines.append(f"searched now by process {who.get('pid', '?')} on host {who.get('host', '?')}")
    else:
        rest = ", which the same `ell-tune search` goes on with" if found["under_way"] else ""
        lines.append(f"not searched now{rest}")
    ago = duration(max((now - datetime.fromisoformat(found["last_event"])).total_seconds(), 0))
    lines.append(
        f"{duration(found['search_seconds'])} searched, {duration(found['device_seconds'])} of device time, last event "
        f"{ago} ago"
    )
    if found["artifact_bytes"]:
        kept = ", ".join(map(str, found["with_weights"]))
        weights = f", with the weights of trials {kept}, the best first" if kept else ""
        lines.append(f"{_size(found['artifact_bytes'])} on disk{weights}")
    if found["best"] is not None:
        best = found["best"]
        lines.append(f"best {best['score']:.4f} (trial {best['number']}, {best['state']}): {best['fields']}")
    for trial in found["under_way"]:
        score = "no score yet" if trial["score"] is None else f"score {trial['score']:.4f}"
        reason = f" ({trial['reason']})" if trial["reason"] else ""
        lines.append(
            f"trial {trial['number']} {trial['state']}: step {trial['steps']}/{trial['num_steps'] or '?'}, {score}, "
            f"{duration(trial['seconds'])}{reason}: {trial['fields']}"
        )
    return lines


def _size(num_bytes: int) -> str:
    """`340 B`, `1.2 GB`: powers of 1000."""
    power = min((len(str(num_bytes)) - 1) // 3, 4)
    return f"{num_bytes / 1000**power:.1f} {'kMGT'[power - 1]}B" if power else f"{num_bytes} B"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no trials yet"
