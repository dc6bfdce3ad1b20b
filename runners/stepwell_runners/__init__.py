"""Runners: isolates and the wall around them, workspaces, toolchains, containers."""
