"""The fit: one config on one fold. It has no schedule, so it is evaluated once."""

import time

from ell_tune.errors import BadConfig
from ell_tune.essays.metrics import rmse_per_target
from ell_tune.trainable import Checkpoints, FoldData, FoldResult, Progress, Report
from trainables.frozen_features.config import Config
from trainables.frozen_features.features import essay_features
from trainables.frozen_features.scorer import fit_scorer, read_scorer
from trainables.frozen_features.weights import write_weights

_SCORER = "scorer.safetensors"


def fit(config: Config, fold_data: FoldData, checkpoints: Checkpoints, report: Report) -> FoldResult:
    """Fits on the fold's training rows and scores its validation rows; see `ell_tune.trainable`.

    Nothing in it is random: the seed changes nothing. A resumed fit has its estimator back, and repeats its report.

    Raises:
        BadConfig: an encoder lacks the layers asked for, or gave NaN or infinity; a backbone is no longer where it was
            when the essays were encoded; or there are pseudo-labels.
    """
    if len(fold_data.pseudo_rows) > 0:
        raise BadConfig(
            "--pseudo: pseudo-labels are for a trainable that is pre-trained on them and fine-tuned, as "
            "trainables.regressor is, but trainables.frozen_features fits once. Leave out --pseudo and --pseudo-model, "
            "or search trainables.regressor."
        )
    features_NP = essay_features(config, fold_data.prepared)
    latest = checkpoints.latest()
    if latest is None:
        train_rows = fold_data.train_rows
        scorer = fit_scorer(config, features_NP[train_rows], fold_data.labels_NC[train_rows])
    else:
        scorer = read_scorer(latest / _SCORER)

    started = time.perf_counter()
    oof_MC = scorer.predict(features_NP[fold_data.valid_rows])
    scoring_seconds = time.perf_counter() - started
    rmse_C = rmse_per_target(fold_data.labels_NC[fold_data.valid_rows], oof_MC)
    metrics = {f"rmse_{target}": float(rmse) for target, rmse in zip(fold_data.targets, rmse_C, strict=True)}
    encoded = [fold_data.prepared[field] for field in config.encoders]
    metrics["num_parameters"] = float(scorer.num_parameters + sum(encoder.num_parameters for encoder in encoded))
    # As `predict` takes it, from an essay's tokens: through every encoder, then through the scorer.
    encoding_seconds = sum(encoder.seconds_per_essay for encoder in encoded)
    metrics["seconds_per_essay"] = encoding_seconds + scoring_seconds / len(fold_data.valid_rows)
    progress = Progress(step=1, num_steps=1, score=float(rmse_C.mean()), metrics=metrics)
    write_weights(checkpoints.weights_dir, config, scorer, fold_data.prepared)
    if latest is None:
        checkpoints.save(lambda folder: scorer.write(folder / _SCORER))
    report(progress)
    return FoldResult(progress.score, oof_MC, checkpoints.weights_dir)
