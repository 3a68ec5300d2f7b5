"""One fit: what compile was told, the engine, the loop, and going on after a stop."""
