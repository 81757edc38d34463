"""The settings that the environment gives to the library: the only module that reads ``WORKCAST_…`` variables.

Options of the command line have variables too (see :mod:`workcast.broker.names`), which its parser reads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, NamedTuple

from workcast.broker import names
from workcast.broker.errors import SettingError

DEFAULT_LOCK_TIMEOUT_S: Final = 10.0


class Environment(NamedTuple):  # no dataclass: loading those takes a hook some ms
    """What the ``WORKCAST_…`` variables say; a variable that is empty counts as unset."""

    root: str | None = None
    """The directory that holds ``.workcells/``, for hooks."""
    redis_url: str | None = None
    """The server that writers relay their logs to."""
    prices: str | None = None
    """The path of a price table that replaces the built-in one."""
    lock_timeout: float = DEFAULT_LOCK_TIMEOUT_S
    """Seconds for which a writer waits for the lock of its log."""
    run: str | None = None
    """The id of the run that started this process, if one did."""


def read_environment(variables: Mapping[str, str] | None = None) -> Environment:
    """Read the variables of this process, or those given.

    Raises:
        SettingError: a value cannot be understood.
    """
    env = os.environ if variables is None else variables
    return Environment(
        root=env.get(names.ROOT_VARIABLE) or None,
        redis_url=env.get(names.REDIS_URL_VARIABLE) or None,
        prices=env.get(names.PRICES_VARIABLE) or None,
        lock_timeout=_seconds(env, names.LOCK_TIMEOUT_VARIABLE, DEFAULT_LOCK_TIMEOUT_S),
        run=env.get(names.RUN_VARIABLE) or None,
    )


def shares_with_group(variables: Mapping[str, str] | None = None) -> bool:
    """Whether the group of a root's directory may read and write what workcast makes there.

    Raises:
        SettingError: the value cannot be understood.
    """
    match (os.environ if variables is None else variables).get(names.SHARE_VARIABLE):
        case None | "":
            return False
        case "group":
            return True
        case other:
            raise SettingError(f"{names.SHARE_VARIABLE}: expected 'group' or nothing, got {other!r}")


def read_gateway_settings(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the gateway's settings that the environment gives, as text, by the settings' names."""
    env = os.environ if variables is None else variables
    given = {setting: env.get(gateway_variable(setting), "") for setting in names.GATEWAY_SETTINGS}
    return {setting: value for setting, value in given.items() if value}


def gateway_variable(setting: str) -> str:
    """Return the environment variable of one of the gateway's settings."""
    return names.PREFIX + setting.upper()


def _seconds(env: Mapping[str, str], variable: str, default: float) -> float:
    text = env.get(variable)
    if not text:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):  # no math module: hooks would have to load its library
        raise SettingError(f"{variable}: expected a number of seconds, 0 or more, got {text!r}")
    return seconds
