"""The actor that prepares the essays of a run. Apart from `worker.py`: its process need not import Ray Tune."""

import ray
from ray import ObjectRef

from ell_tune.config import StrictConfig
from ell_tune.trainable import load_trainable


class PreparedEssays:
    """An actor that prepares the essays once for each preparation that trials ask for, and hands out references."""

    def __init__(self, trainable_name: str, essays: list[str]) -> None:
        self._trainable_name = trainable_name
        self._essays = essays
        self._refs: dict[str, ObjectRef] = {}

    def get(self, preparation: StrictConfig) -> ObjectRef:
        key = preparation.model_dump_json()
        if key not in self._refs:
            prepared = load_trainable(self._trainable_name).prepare(preparation, self._essays)
            self._refs[key] = ray.put(prepared)
        return self._refs[key]
