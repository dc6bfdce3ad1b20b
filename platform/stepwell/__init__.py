"""What a pipeline imports. Standard library only: this package is loaded in every isolate."""

from stepwell.authoring.event import Event
from stepwell.authoring.failures import (
    ApprovalTimeout,
    EventTimeout,
    FinalError,
    NotDurable,
    NotExecuted,
    Rejected,
    StepFailed,
)
from stepwell.authoring.options import file, service
from stepwell.authoring.order import group, rate
from stepwell.authoring.pipeline import Pipeline
from stepwell.authoring.results import Approval, Result
from stepwell.authoring.retries import Retry
from stepwell.authoring.step import Step
from stepwell.authoring.triggers import cron, manual, push, tag
from stepwell.authoring.undo import Undo

__all__ = [
    "Approval", "ApprovalTimeout", "Event", "EventTimeout", "FinalError", "NotDurable", "NotExecuted", "Pipeline",
    "Rejected", "Result", "Retry", "Step", "StepFailed", "Undo", "cron", "file", "group", "manual", "push", "rate",
    "service", "tag",
]  # fmt: skip
