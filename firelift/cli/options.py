"""The options of the commands, made from the settings so that they cannot differ from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from firelift.run.redact import MASK
from firelift.settings.fields import NEVER_SHOWN, PREFIX, option_name
from firelift.settings.secret_shapes import may_be_shown
from firelift.settings.settings import Settings, environment_names, off_name

Command = TypeVar("Command", bound=Callable[..., Any])

_METAVARS = {
    **{"url": "URL", "key": "KEY", "id": "ID", "database": "ID", "host": "HOST:PORT", "time": "TIME", "schema": "NAME"},
    **{"deletes": "ROWS|SHARE%", "cost": "USD", "price": "USD", "ms": "MS", "values": "NAME=VALUE[,..]"},
}


class OneLineCommand(click.Command):
    """A command whose help gives one line to an option."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = [record for parameter in self.get_params(ctx) if (record := parameter.get_help_record(ctx)) is not None]
        width = max((len(names) for names, _ in records), default=0)
        with formatter.section("Options"):
            for names, text in records:
                formatter.write(f"  {names:<{width}}  {text}\n")


def settings_options(
    *, only: Iterable[str] | None = None, without: Iterable[str] = (), meaning: Mapping[str, str] = MappingProxyType({})
) -> Callable[[Command], Command]:
    """A decorator that gives a command an option for every setting (of `only`, if given); `meaning` says what one means here."""
    names = [name for name in (only or Settings.model_fields) if name not in set(without)]

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            command = _option(name, Settings.model_fields[name], meaning.get(name))(command)
        return command

    return decorate


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that stood on the command line."""
    context = click.get_current_context()
    on_line = click.core.ParameterSource.COMMANDLINE
    return {name: value for name, value in options.items() if context.get_parameter_source(name) == on_line}


def without_secrets(error: click.ClickException, words: Sequence[str]) -> str:
    """What click says of a slip, without those of the words on the command line that are no names and may be a piece of a secret."""
    text = error.format_message()
    hidden = {part for word in _hidden(words) for part in (word, word.partition("=")[2])}
    for word in sorted(filter(None, hidden), key=len, reverse=True):
        text = text.replace(word, MASK)
    return text


def _hidden(words: Sequence[str]) -> Iterator[str]:
    """Behind an option that takes a secret everything: an unquoted space cuts a password in two."""
    secret_options = {option_name(name) for name in NEVER_SHOWN}
    behind_secret = False
    for word in words:
        if not re.fullmatch(r"--?[a-z][a-z-]{0,40}" if behind_secret else r"-{0,2}[A-Za-z0-9._-]{1,40}", word) or not may_be_shown(word):
            yield word
        behind_secret = behind_secret or word.partition("=")[0] in secret_options


def markdown_table() -> str:
    """Every setting as a table for the README."""
    rows = ["| Option | Environment | Default | What |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        option = f"`{_spelled(name, field)}`".replace("|", "\\|")
        variables = ", ".join(f"`{variable}`" for variable in environment_names(name))
        rows.append(f"| {option} | {variables} | {default_text(name, field)} | {field.description} |")
    return "\n".join(rows) + "\n"


def default_text(name: str, field: FieldInfo) -> str:
    if name == "max_workers":
        return "processors, at most 8"
    if field.default is True:
        return "true"
    if field.default is False or field.default in (None, (), {}):
        return ""
    return str(field.default)


def _option(name: str, field: FieldInfo, meaning: str | None) -> Callable[[Command], Command]:
    text = meaning or _help(name, field)
    if _is_switch(field):
        return click.option("/".join(_forms(name)), name, is_flag=True, default=None, help=text)
    return click.option(option_name(name), name, type=str, metavar=_metavar(name, field), help=text)


def _is_switch(field: FieldInfo) -> bool:
    return bool in (field.annotation, *get_args(field.annotation))


def _spelled(name: str, field: FieldInfo) -> str:
    return " / ".join(_forms(name)) if _is_switch(field) else f"{option_name(name)} {_metavar(name, field)}"


def _forms(name: str) -> list[str]:
    return [form for form in (option_name(name), off_name(name)) if form is not None]


def _help(name: str, field: FieldInfo) -> str:
    default = default_text(name, field)
    others = [variable for variable in environment_names(name) if not variable.startswith(PREFIX)]
    notes = [f"default: {default}"] if default else []
    notes += [f"env: {', '.join(others)}"] if others else []
    return f"{field.description} [{'; '.join(notes)}]" if notes else str(field.description)


def _metavar(name: str, field: FieldInfo) -> str:
    kinds = {field.annotation, *get_args(field.annotation)}
    if get_origin(field.annotation) is Literal:
        return "|".join(get_args(field.annotation))
    if int in kinds:
        return "N"
    if Path in kinds:
        return "PATH"
    if get_origin(field.annotation) is tuple:
        return {"phases": "PHASE[,..]", "owner": "ROLE[,..]"}.get(name.rpartition("_")[2], "GLOB[,..]")
    return _METAVARS.get(name.rpartition("_")[2], "VALUE")
