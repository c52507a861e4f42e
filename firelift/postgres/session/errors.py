"""What can go wrong with the target, each with its cause and the way out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from firelift.errors import ConfigurationError, FireliftError


class InvalidDatabaseUrl(ConfigurationError):
    """The database URL cannot be read."""

    # No facts: whatever part of a broken URL we named could be a piece of the password.
    remedy = (
        "It should look like postgresql://user:password@host:5432/database. In user and password write @ as %40, : as %3A, / as %2F, "
        "# as %23, ? as %3F and % as %25, and put the real password where Supabase shows [YOUR-PASSWORD]."
    )


class UnknownParameter(ConfigurationError):
    """The database URL has connection parameters after its ? that PostgreSQL's client does not know."""

    remedy = "Remove or correct them; a ? that belongs to the password is written as %3F."


class TransactionPooler(ConfigurationError):
    """Port 6543 is a transaction pooler, which keeps no session: the advisory lock and the settings of the run would be lost."""

    remedy = "Use the session pooler (same host, port 5432) or the direct connection (db.<project>.supabase.co, port 5432)."


class WrongPassword(ConfigurationError):
    """PostgreSQL refused the user or the password."""

    remedy = "Check user and password in the database URL; through Supabase's pooler the user is postgres.<project>."


class DatabaseMissing(ConfigurationError):
    """The server has no database of this name."""

    remedy = "Correct the name at the end of the database URL, or create the database."


class TlsRequired(ConfigurationError):
    """The server takes no connection from here the way it was tried (pg_hba.conf: encryption, address or user)."""

    remedy = "Add ?sslmode=require to the database URL, or have the server allow this user and address."


class TlsNotOffered(ConfigurationError):
    """An encrypted connection is required and the server offers none."""

    remedy = "Switch TLS on at the server. If the network is trusted: no sslmode in the database URL, and --no-require-tls."


class TlsNotTrusted(ConfigurationError):
    """The server's certificate is not trusted."""

    remedy = "Give the server's root certificate with ?sslrootcert=/path/to/root.crt in the database URL."


class PostgresUnreachable(FireliftError):
    """PostgreSQL cannot be reached."""

    recovery = "automatic"
    remedy = (
        "Check host, port and firewall. A direct Supabase address (db.<project>.supabase.co) speaks IPv6 only: from an IPv4 network "
        "use the session pooler, port 5432."
    )


class PostgresNotReady(FireliftError):
    """PostgreSQL is starting up or shutting down."""

    recovery = "automatic"
    remedy = "Wait for the server, then continue with --resume."


class TooManyConnections(FireliftError):
    """PostgreSQL has no connection left for us."""

    recovery = "automatic"
    remedy = "Close other connections, raise the limit, or lower --max-workers."


class CannotConnect(FireliftError):
    """PostgreSQL refused the connection."""

    remedy = "The server's own words are in the parentheses."


class ConnectionLost(FireliftError):
    """The connection to PostgreSQL broke."""

    recovery = "automatic"
    remedy = "Nothing half-written stays behind; continue with --resume."


class TargetDiskFull(FireliftError):
    """The target's disk is full."""

    recovery = "after_fix"
    remedy = "Make room or enlarge the disk of the database, then continue with --resume."


class TargetOutOfMemory(FireliftError):
    """The target's server has no memory left."""

    recovery = "after_fix"
    remedy = "Give the server more memory or lower --max-workers, then continue with --resume."


class TooManyLocks(FireliftError):
    """PostgreSQL has no room left for the locks of so many tables in one transaction, which was rolled back."""

    recovery = "after_fix"
    remedy = "Raise max_locks_per_transaction (the server has to be restarted for it), then try again; a migration continues with --resume."


class TargetReadOnly(FireliftError):
    """The target accepts no writes at present."""

    recovery = "after_fix"
    remedy = (
        "Connect to the primary, not to a replica. Supabase switches a project to read-only when its disk is full: enlarge the disk, "
        "then continue with --resume."
    )


class TargetBusy(FireliftError):
    """Somebody else held a lock for too long, or two transactions collided."""

    recovery = "automatic"
    remedy = "Continue with --resume when the other session is done."


class PermissionDenied(FireliftError):
    """The role may not do this in the target."""

    remedy = "Connect as the owner of the database (on Supabase: postgres), or grant the role what is missing."


class StatementCancelled(FireliftError):
    """Somebody cancelled a statement of ours in the target."""

    recovery = "automatic"
    remedy = "Continue with --resume."


class DuplicateKeys(FireliftError):
    """Two rows of a table have the same key."""

    remedy = "This should be impossible: keep the working directory and report it."


class PostgresLimit(FireliftError):
    """A row or key is larger than PostgreSQL can hold."""

    remedy = "Keep the working directory and report it: such documents ought to have been rejected beforehand."


class PostgresRefused(FireliftError):
    """PostgreSQL refused a statement."""

    remedy = "The server's own words are in the parentheses; continue with --resume when the cause is gone."


# The texts are libpq's, PostgreSQL's and Supavisor's: a failed connection has no SQLSTATE.
REFUSALS: tuple[tuple[str, type[FireliftError]], ...] = (
    (r"password authentication failed|no password supplied|authentication failed|wrong password|tenant or user not found", WrongPassword),
    (r"role \".*\" does not exist", WrongPassword),
    (r"database \".*\" does not exist", DatabaseMissing),
    (r"server does not support SSL", TlsNotOffered),
    (r"no pg_hba\.conf entry|pg_hba\.conf rejects|SSL connection is required|ssl(mode)? required|no encryption", TlsRequired),
    (r"certificate verify failed|root certificate file|server certificate", TlsNotTrusted),
    (r"starting up|shutting down|not yet accepting connections|in recovery mode", PostgresNotReady),
    (r"too many (clients|connections)|connection slots are reserved|max ?clients", TooManyConnections),
    (
        r"connection refused|failed to resolve host|could not translate host|timeout expired|connection timed out|no route to host"
        r"|network is unreachable|closed the connection unexpectedly|no such file or directory|connection reset|invalid response to SSL",
        PostgresUnreachable,
    ),
)

BY_SQLSTATE: dict[str, type[FireliftError]] = {
    "23505": DuplicateKeys,
    "25006": TargetReadOnly,
    "40001": TargetBusy,
    "40P01": TargetBusy,
    "42501": PermissionDenied,
    "53100": TargetDiskFull,
    "53200": TargetOutOfMemory,
    "53300": TooManyConnections,
    "54000": PostgresLimit,
    "55P03": TargetBusy,
    "57014": StatementCancelled,
    "57P01": ConnectionLost,
    "57P02": ConnectionLost,
    "57P03": PostgresNotReady,
    "57P05": ConnectionLost,
    "25P03": ConnectionLost,
}


def refusal(error: psycopg.Error, **facts: object) -> FireliftError:
    """The error for a connection that did not come about."""
    text = str(error)
    for pattern, kind in REFUSALS:
        if re.search(pattern, text, re.IGNORECASE):
            return kind(**facts)
    return CannotConnect(**facts, said=" ".join(text.split()))


def translate(error: psycopg.Error, doing: str) -> FireliftError:
    state = error.sqlstate
    if state is None or state.startswith("08"):
        lost = isinstance(error, psycopg.OperationalError)
        return ConnectionLost(doing=doing) if lost else PostgresRefused(doing=doing, said=" ".join(str(error).split()))
    # One SQLSTATE for two things; the hint names the setting in every language.
    locks = state == "53200" and "max_locks_per_transaction" in (error.diag.message_hint or "")
    kind = TooManyLocks if locks else BY_SQLSTATE.get(state, PostgresRefused)
    return kind(doing=doing, said=error.diag.message_primary, sqlstate=state)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turns psycopg's errors into ours; `doing` says what was tried, in words for the user."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, doing) from error
