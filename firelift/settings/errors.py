"""What can be wrong with a setting."""

from __future__ import annotations

from firelift.errors import ConfigurationError


class InvalidSetting(ConfigurationError):
    """A setting has a value that cannot be used."""

    remedy = "See `firelift migrate --help`."


class UnknownSetting(ConfigurationError):
    """There is no such setting."""

    remedy = "See `firelift migrate --help` for the settings there are."


class MissingSetting(ConfigurationError):
    """A required setting is missing."""

    remedy = "Give it as an option, in the environment or in `.env`."


class UnreadableEnvFile(ConfigurationError):
    """The file `.env` in the current directory cannot be read."""

    remedy = "Make it a readable text file in UTF-8 with one NAME=value per line, or move it away."
