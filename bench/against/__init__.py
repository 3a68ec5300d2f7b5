"""Two installs of bpcore side by side: `python -m bench --against REF`."""
