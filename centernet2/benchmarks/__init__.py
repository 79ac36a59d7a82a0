"""How long models and their parts take, and how much memory: the measurements, without printing."""
