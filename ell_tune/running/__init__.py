"""Jobs on Ray Tune: the engine on the driver, the worker in its actors."""
