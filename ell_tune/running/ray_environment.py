"""Ray's settings by environment variable. It reads some of them when it is imported: set them before."""

import os

# Tune's own files are thrown away (the study is the record), so it writes few.
_ALWAYS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no calls home
    "RAY_AIR_NEW_OUTPUT": "0",  # no tables of its own
    "RAY_TUNE_CALLBACKS": "ell_tune.running.engine.NoProgress",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the engine has its own
    "TUNE_GLOBAL_CHECKPOINT_S": "600",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "180",  # on a busy machine the default of 60 left a search without one
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# Without it Ray listens on every interface. With it, whatever its name says, a local Ray listens on loopback only.
_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def set_ray_environment(address: str | None) -> None:
    """Prepares this process, before it imports Ray, to join the cluster at `address` or to run Ray alone (None)."""
    for name, value in {**_ALWAYS, **(_ALONE if address is None else {})}.items():
        os.environ.setdefault(name, value)
