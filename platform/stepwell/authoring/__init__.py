"""The author's side of a pipeline and the replay loop that runs inside an isolate (standard library only)."""
