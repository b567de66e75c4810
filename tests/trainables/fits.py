"""Running a fit as the platform does, and as often interrupted."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from safetensors.torch import load_file

from ell_tune.trainable import Checkpoints, FoldData, FoldResult, Progress
from trainables.regressor import Config, fit

# A bit of everything whose state a resumed fit must get back.
RICH: dict[str, Any] = {
    "backbone": {"dropout": 0.1},
    "swa": {"start_frac": 0.5, "lr_factor": 0.5},
    "optimizer": {"layer_rates": {"name": "decay", "decay": 0.8}, "clip_norm": 1.0},
    "reinit": {"num_layers": 1},
    "freeze": {"embeddings": True, "num_layers": 1},
    "training": {"micro_batch_size": 3},
}


MEASURED = {"tokens_per_second", "seconds_per_essay", "peak_memory_mib"}  # metrics that no two fits share


class Stop(BaseException):
    """What the platform raises inside `report` to end a fit."""


def run(
    config: Config, fold_data: FoldData, checkpoints: Checkpoints, stop_after: int | None = None
) -> tuple[list[Progress], FoldResult | None]:
    curve: list[Progress] = []

    def report(progress: Progress) -> None:
        curve.append(progress)
        if len(curve) == stop_after:
            raise Stop

    try:
        return curve, fit(config, fold_data, checkpoints, report)
    except Stop:
        return curve, None


def without_throughput(curve: list[Progress]) -> list[Progress]:
    return [replace(p, metrics={name: v for name, v in p.metrics.items() if name not in MEASURED}) for p in curve]


def assert_resumes_at_every_evaluation(
    config: Config, fold_data: FoldData, make_checkpoints: Callable[..., Any]
) -> FoldResult:
    """Goes on from each of a fit's checkpoints, as a new machine would: the rest of the curve is the same."""
    checkpoints = make_checkpoints("whole")
    whole_curve, whole = run(config, fold_data, checkpoints)
    assert whole is not None
    for num_done in range(1, len(whole_curve) + 1):
        torch.manual_seed(num_done)
        continued, result = run(config, fold_data, make_checkpoints(f"from_{num_done}", checkpoints.saved[:num_done]))
        assert without_throughput(continued) == without_throughput(whole_curve[num_done - 1 :])
        assert result is not None and result.score == whole.score
        ours, theirs = (load_file(r.weights_dir / "model.safetensors") for r in (result, whole))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    return whole
