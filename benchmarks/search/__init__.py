"""How fast a search finds a good config: samplers and schedulers, ours and others', in virtual time."""
