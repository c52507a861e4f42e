"""Of what fails Prefect's log has the reason first, in one line."""

from __future__ import annotations

from firelift.errors import FireliftError
from tasks.prefect_log import reason


class Unreachable(FireliftError):
    """The target cannot
    be reached."""

    remedy = "Start it."


def test_a_reason_is_one_line_that_says_the_remedy_once() -> None:
    assert reason(Unreachable(server="here")) == "The target cannot be reached (server: here). Start it."
    assert reason(ValueError("of\ntwo lines")) == "ValueError: of two lines"
