"""Who may call, and which databases there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs

import grpc

from firelift.local.firestore_server.calls import Answer, Call, Refused, Responses

INVALID_TOKEN: Final = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential."
)


@dataclass(frozen=True)
class Denied:
    """A role that may do some of the calls: to read single documents, say, and not to list."""

    documented: ClassVar[str] = (
        "https://firebase.google.com/docs/firestore/security/iam: BatchGetDocuments needs datastore.entities.get, ListCollectionIds "
        "entities.list, RunQuery, RunAggregationQuery and PartitionQuery both"
    )
    methods: tuple[str, ...]

    def around(self, call: Call, answer: Answer) -> Responses:
        if call.method in self.methods:
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, "Missing or insufficient permissions.")
        return answer(call)


@dataclass(frozen=True)
class ValidTokens:
    """Calls need a token that is valid when they begin."""

    documented: ClassVar[str] = (
        "https://cloud.google.com/docs/authentication/token-types: an access token is valid for an hour by default; whether a "
        "running stream ends with its token is not said"
    )
    is_valid: Callable[[str], bool]
    ends_streams: bool = False

    def around(self, call: Call, answer: Answer) -> Responses:
        token = call.metadata.get("authorization", "").removeprefix("Bearer ")
        self._refuse(token)
        return self._watched(token, call, answer) if self.ends_streams else answer(call)

    async def _watched(self, token: str, call: Call, answer: Answer) -> Responses:
        async for response in answer(call):
            self._refuse(token)
            yield response

    def _refuse(self, token: str) -> None:
        if not self.is_valid(token):
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, INVALID_TOKEN)


@dataclass(frozen=True)
class OneDatabase:
    """There is this database and no other, and calls must name it in their header, too."""

    documented: ClassVar[str] = (
        "https://firebase.google.com/docs/firestore/manage-databases#access_a_named_database_with_a_client_library; texts as in "
        "https://github.com/googleapis/google-cloud-rust/issues/4033"
    )
    project: str
    database: str = "(default)"

    def around(self, call: Call, answer: Answer) -> Responses:
        named = _database_of(call.request)
        if named != f"projects/{self.project}/databases/{self.database}":
            _, project, _, database = named.split("/")
            text = f"The database {database} does not exist for project {project} Please visit https://console.cloud.google.com/datastore/setup"
            raise Refused(grpc.StatusCode.NOT_FOUND, f"{text}?project={project} to add a Cloud Datastore or Cloud Firestore database. ")
        routed = parse_qs(call.metadata.get("x-goog-request-params", ""))
        if self.database != "(default)" and routed.get("database_id") != [self.database]:
            wanted = "Please fill in the request header with format x-goog-request-params:project_id={p}&database_id={d}."
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"Missing routing header. {wanted}")
        return answer(call)


@dataclass(frozen=True)
class NotFirestore:
    """A database that does not answer this API: one in Datastore mode, or of Enterprise edition with native access switched off."""

    documented: ClassVar[str] = (
        "https://firebase.google.com/docs/firestore/reference/rest/v1/projects.databases (DataAccessMode: disabled by default for "
        "Enterprise); texts as in https://github.com/quarkiverse/quarkus-google-cloud-services/issues/422 and other people's reports"
    )
    is_enterprise: bool = False

    def around(self, call: Call, answer: Answer) -> Responses:
        datastore = f"The Cloud Firestore API is not available for Firestore in Datastore Mode database {_database_of(call.request)}."
        enterprise = "Firestore API data access is disabled. Please enable it if you want to access the database through Firestore API."
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, enterprise if self.is_enterprise else datastore)


def _database_of(request: Any) -> str:
    """`projects/p/databases/d` of any request."""
    name = request.parent if "parent" in request.DESCRIPTOR.fields_by_name else request.database
    return "/".join(name.split("/")[:4])
