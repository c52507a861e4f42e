"""What can go wrong between us and Firestore."""

from __future__ import annotations

import grpc

from firelift.errors import ConfigurationError, FireliftError

# A stream that breaks with one of these is continued from its last key; a cut HTTP/2 stream reports INTERNAL.
PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.ABORTED,
}


class NoCredentials(ConfigurationError):
    """No Firestore credentials were found."""

    remedy = "Give --firebase-service-account FILE, set GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`."


class NoProject(ConfigurationError):
    """The Firebase project is not known."""

    remedy = "Give --project-id ID or set GOOGLE_CLOUD_PROJECT."


class KeyFileUnreadable(ConfigurationError):
    """The service account key file cannot be read."""

    remedy = "Check the path given by --firebase-service-account or GOOGLE_APPLICATION_CREDENTIALS and its permissions."


class KeyFileInvalid(ConfigurationError):
    """The service account key file is not a usable key."""

    remedy = "Download a new private key in the Firebase console under Project settings, Service accounts."


class CredentialsRefused(ConfigurationError):
    """Google refuses these credentials."""

    remedy = (
        "A key may have been deleted or its account disabled: make a new one in the Firebase console under Project settings, "
        "Service accounts; for your own account run `gcloud auth application-default login`. Check this machine's clock too."
    )


class FirestoreUnreachable(FireliftError):
    """Firestore does not answer."""

    recovery = "automatic"
    remedy = "Check the network, and FIRESTORE_EMULATOR_HOST if you use an emulator; then continue with --resume."


class FirestoreDenied(FireliftError):
    """Firestore refuses to let this account read."""

    remedy = "Give the service account the role roles/datastore.viewer (Cloud Datastore Viewer) on the project."


class DatabaseNotFound(FireliftError):
    """There is no such Firestore database."""

    remedy = "Check --project-id and --firestore-database; Datastore mode databases are not Firestore databases."


class SnapshotExpired(FireliftError):
    """Firestore no longer keeps the snapshot of this migration."""

    remedy = (
        "Snapshots are kept for an hour, with point-in-time recovery for 7 days (whole minutes). "
        "A full run goes on with `firelift migrate --resume --on-expired-snapshot catch-up`: it reads the rest as it is now, and an "
        "incremental run closes the gap. Or start a new one; for large databases with point-in-time recovery and --read-time minute."
    )


class FirestoreError(FireliftError):
    """Firestore answered with an error."""

    remedy = "See the code and message; continue with --resume when it is fixed."


# The errors of a further look at Firestore that may be left out where it is not available.
UNAVAILABLE = (
    NoCredentials,
    KeyFileUnreadable,
    KeyFileInvalid,
    CredentialsRefused,
    FirestoreUnreachable,
    FirestoreDenied,
    DatabaseNotFound,
    SnapshotExpired,
    FirestoreError,
)


class CountMismatch(FireliftError):
    """A stream ended with another number of documents than Firestore counts at the same read time."""

    recovery = "automatic"
    remedy = "Run again; if it happens again, Firestore's answers contradict one another: report it with the migration log."


class ScansDiffer(FireliftError):
    """A second scan of the keys finds other documents at the same read time than were read before."""

    recovery = "automatic"
    remedy = (
        "Continue with --resume, which reads the range again; if it happens again, Firestore's answers contradict one another: "
        "report it with the migration log."
    )


class NothingMatches(ConfigurationError):
    """A collection pattern matches no collection of the database."""

    remedy = "Check --collections and --exclude-collections; `firelift plan` without them lists every collection."


def is_passing(error: grpc.RpcError) -> bool:
    return error.code() in PASSING


def translate(error: grpc.RpcError, database: str, emulator: str | None = None) -> FireliftError:
    """Our own error for this status of Firestore."""
    code, details = error.code(), (error.details() or "").strip()[:300]
    where: dict[str, object] = {"database": database, "emulator": emulator} if emulator else {"database": database}
    if code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED):
        return FirestoreDenied(**where, message=details)
    if code is grpc.StatusCode.NOT_FOUND:
        return DatabaseNotFound(**where, message=details)
    if code in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT) and _is_about_age(details):
        return SnapshotExpired(**where, message=details)
    if code in PASSING:
        return FirestoreUnreachable(**where, status=code.name, message=details)
    return FirestoreError(**where, status=code.name, message=details)


def _is_about_age(details: str) -> bool:
    lowered = details.lower()
    return "too old" in lowered or "snapshot" in lowered or ("read_time" in lowered and "past" in lowered)
