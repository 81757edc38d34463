from __future__ import annotations

import pytest

from workcast.broker import names
from workcast.broker.environment import (
    DEFAULT_LOCK_TIMEOUT_S,
    Environment,
    gateway_variable,
    read_environment,
    read_gateway_settings,
)
from workcast.broker.errors import SettingError
from workcast.events.errors import WorkcastError


def test_variables_that_are_unset_or_empty_leave_the_defaults() -> None:
    assert read_environment({}) == Environment()
    assert read_environment(dict.fromkeys(("WORKCAST_ROOT", "WORKCAST_LOCK_TIMEOUT"), "")) == Environment()
    assert Environment().lock_timeout == DEFAULT_LOCK_TIMEOUT_S


def test_each_variable_is_read() -> None:
    variables = {
        "WORKCAST_ROOT": "/r", "WORKCAST_REDIS_URL": "redis://h", "WORKCAST_PRICES": "p.json",
        "WORKCAST_LOCK_TIMEOUT": "0.5", "WORKCAST_RUN": "abc",
    }  # fmt: skip
    assert read_environment(variables) == Environment("/r", "redis://h", "p.json", 0.5, "abc")


def test_this_process_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKCAST_ROOT", "/here")
    monkeypatch.setenv("WORKCAST_PORT", "1234")
    assert read_environment().root == "/here"
    assert read_gateway_settings()["port"] == "1234"


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1s"])
def test_a_lock_timeout_that_is_not_a_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="WORKCAST_LOCK_TIMEOUT: expected a number of seconds"):
        read_environment({"WORKCAST_LOCK_TIMEOUT": text})


def test_the_gateways_settings_are_read_by_name() -> None:
    given = {"WORKCAST_MAX_VIEWERS": "3", "WORKCAST_HOST": "", "WORKCAST_VERBOSE": "1", "PORT": "1"}
    assert read_gateway_settings(given) == {"max_viewers": "3"}
    assert gateway_variable("max_viewers") == "WORKCAST_MAX_VIEWERS"


def test_no_two_files_of_one_directory_share_a_name() -> None:
    values = [value for name, value in vars(names).items() if name.endswith(("_FILE", "_DIRECTORY", "_SUFFIX"))]
    assert len(values) == len(set(values))
    variables = [value for name, value in vars(names).items() if name.endswith("_VARIABLE")]
    assert len(variables) == len(set(variables))
    assert all(variable.startswith(names.PREFIX) for variable in variables)


def test_wrong_usage_and_a_wrong_setting_end_with_two() -> None:
    assert WorkcastError.exit_code == 1
    assert SettingError.exit_code == 2
