"""Essays as trials get them, prepared once. Apart from `worker.py`: the preparing process need not import Ray Tune."""

from collections.abc import Sequence
from typing import Any

import ray
from ray import ObjectRef

from ell_tune.config import StrictConfig
from ell_tune.trainable import load_trainable


class EssayPreparer:
    """An actor that prepares the essays once for each preparation that trials ask for, and hands out references."""

    def __init__(self, trainable_name: str) -> None:
        self._trainable_name = trainable_name
        self._refs: dict[str, ObjectRef] = {}

    def get(self, preparation: StrictConfig, essays: list[ObjectRef]) -> ObjectRef:
        """A reference to the prepared essays. `essays` holds one to their texts: in a list, for Ray to leave it one."""
        key = preparation.model_dump_json()
        if key not in self._refs:
            prepared = load_trainable(self._trainable_name).prepare(preparation, ray.get(essays[0]))
            self._refs[key] = ray.put(prepared)
        return self._refs[key]


class PreparedEssays:
    """The driver's and the workers' side of an `EssayPreparer`.

    The driver holds the texts, and each call takes a reference to them. Ray keeps no large argument of an actor's
    constructor for as long as the actor may start again (ray-project/ray#53727).
    """

    def __init__(self, trainable_name: str, essays: Sequence[str]) -> None:
        self._essays = ray.put(list(essays))
        # It takes no CPU from the trials, and starts again if its process or its node dies.
        remote_class: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(EssayPreparer)
        self._preparer = remote_class.remote(trainable_name)

    def get(self, preparation: StrictConfig) -> Any:
        """What the trainable's `prepare` made of the essays. Raises what that raised."""
        try:
            return ray.get(self._reference(preparation))
        except ray.exceptions.ObjectLostError:  # its process died with them just now, and has started again
            return ray.get(self._reference(preparation))

    def _reference(self, preparation: StrictConfig) -> ObjectRef:
        try:
            reference: ObjectRef = ray.get(self._preparer.get.remote(preparation, [self._essays]))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None  # so that a UserError or BadConfig of `prepare` is told as one
        return reference

    def close(self) -> None:
        """Ends the actor."""
        ray.kill(self._preparer)
