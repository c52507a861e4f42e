"""The base of every error that Firelift raises on purpose: its facts, whether waiting helps, and the way out."""

from __future__ import annotations

from typing import ClassVar, Literal

Recovery = Literal["automatic", "after_fix", "never"]
"""What lets the same call succeed later: time alone; a fix outside the run, which keeps what it has until then; nothing."""


class FireliftError(Exception):
    """Something went wrong."""

    recovery: ClassVar[Recovery] = "never"
    remedy: ClassVar[str] = ""
    exit_code: ClassVar[int] = 1

    def __init__(self, **facts: object) -> None:
        # A fact named `trace` is for --verbose only. Facts travel as keyword arguments so that errors pickle; the text is made from them.
        super().__init__(facts)
        self.facts = facts

    def __reduce__(self) -> tuple[object, ...]:
        return (_again, (type(self), self.facts))

    def __str__(self) -> str:
        what = " ".join((type(self).__doc__ or type(self).__name__).split("\n\n")[0].split()).rstrip(".")
        facts = ", ".join(f"{name.replace('_', ' ')}: {fact}" for name, fact in self.facts.items() if name != "trace")
        return f"{what} ({facts}). {self.remedy}".strip() if facts else f"{what}. {self.remedy}".strip()


def _again(kind: type[FireliftError], facts: dict[str, object]) -> FireliftError:
    return kind(**facts)


class ConfigurationError(FireliftError):
    """The configuration cannot be used."""

    exit_code = 2


class Stopped(FireliftError):
    """The migration was stopped on request."""

    exit_code = 3
    remedy = "Nothing is lost: continue with --resume."
