"""Subflows, as far as they need no server."""

from __future__ import annotations

import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, get_current_settings, temporary_settings

from tasks.flow_run import own_heartbeat
from tasks.subflow import _without_heartbeat


def test_where_the_heartbeat_is_off_a_subflow_changes_no_settings() -> None:
    """A change has Prefect validate all of them: 34 ms of CPU a subflow."""
    with own_heartbeat():
        before = get_current_settings()
        with _without_heartbeat():
            assert get_current_settings() is before


@pytest.mark.parametrize("every", [30, 120])
def test_a_heartbeat_of_prefect_s_own_is_off_inside_a_subflow_and_on_behind_it(every: int) -> None:
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: every}):
        with _without_heartbeat():
            assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is None
        assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() == every
