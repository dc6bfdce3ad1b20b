"""Dynamic workflows: wrap metadata into a run, route the run back to the right code."""
