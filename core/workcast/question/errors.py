"""The error of a question that cannot be understood."""

from __future__ import annotations

from typing import ClassVar

from workcast.events.errors import WorkcastError


class QuestionError(WorkcastError):
    """A question is malformed; the message says where, what was expected, and what came.

    Args:
        position: of the part that is wrong, in code points from the question's start.
        problem: what was expected there, what came and what to do.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, position: int, problem: str) -> None:
        super().__init__(f"at character {position + 1} of the question: {problem}")
        self.position = position
        self.problem = problem
