"""The command line, and the one place that puts all rooms together (compose.py)."""
