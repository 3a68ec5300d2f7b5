"""Files: bytes on the disk, the container, and what is written of models and checkpoints."""
