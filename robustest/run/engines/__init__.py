"""Where chunks are measured: this process, processes of this machine, or an engine of a plugin."""
