"""The command line, and the composition root that puts platform, runners and web together."""
