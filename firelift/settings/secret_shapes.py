"""What kind of secret a text looks like, and where that belongs, without showing any of the text."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from typing import NamedTuple


class Look(NamedTuple):
    """A kind of secret, in words for an error message."""

    what: str
    belongs: str


_KEY_FILE = "the key stays in its file, and GOOGLE_APPLICATION_CREDENTIALS or --firebase-service-account has the path of that file"
_DATABASE = "a database URL goes to SUPABASE_DB_URL or --database-url"
_SUPABASE_KEY = "it goes to SUPABASE_SERVICE_ROLE_KEY or --supabase-key"
_NOWHERE = "no setting of firelift takes it"

_JWT = re.compile(r"\beyJ[\w-]+\.([\w-]+)\.[\w-]*")
_MOST_SHOWN = 100
# No key is longer, and the expressions below go over a text more than once.
_MOST_LOOKED_AT = 10_000
# Words, numbers and paths have no stretch this long in which capitals, small letters and digits alternate.
_RANDOM = re.compile(r"(?=\S*[a-z])(?=\S*[A-Z])(?=\S*[0-9])[A-Za-z0-9+/_=-]{24,}|\b[0-9a-fA-F]{32,}\b")


def secret_look(text: str) -> Look | None:
    """What kind of secret a text is or holds; None where it seems to be none."""
    bare = text[:_MOST_LOOKED_AT].strip().strip("'\"`").strip()
    return next((look for found, look in _LOOKS if found(bare)), None)


def may_be_shown(text: str) -> bool:
    """Whether an error may quote the text: short, on one line, and nothing in it looks like a secret."""
    return len(text) <= _MOST_SHOWN and text.isprintable() and secret_look(text) is None and _RANDOM.search(text) is None


def opens_a_project(token: str) -> bool:
    """Whether the middle part of a JWT says that it opens everything in a Supabase project."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, RecursionError):
        return False
    return isinstance(claims, dict) and claims.get("role") == "service_role"


def _is_service_account(text: str) -> bool:
    # In quotes, with its quotes escaped, cut off, or in Base64, as some hosters want it.
    return "private_key" in text or ("{" in text and "service_account" in text) or _is_base64_of_a_key(text)


def _is_base64_of_a_key(text: str) -> bool:
    packed = re.sub(r"\s", "", text)
    if len(packed) < 40 or not re.fullmatch(r"[A-Za-z0-9+/_-]+={0,2}", packed):
        return False
    try:
        content = base64.b64decode(packed[: len(packed) // 4 * 4], altchars=b"-_" if set(packed) & set("-_") else None)
    except (ValueError, binascii.Error):
        return False
    return b"private_key" in content or b"PRIVATE KEY-----" in content or b'"service_account"' in content


def _is_postgres_url(text: str) -> bool:
    # As a path it has lost its second slash; here and below.
    return bool(re.search(r"\bpostgres(ql)?(\+\w+)?:/", text, re.IGNORECASE))


def _is_dsn(text: str) -> bool:
    return bool(re.search(r"\b(?:ssl)?password\s*=\s*\S", text, re.IGNORECASE))


def _has_password(text: str) -> bool:
    return bool(re.search(r"\b[a-z][a-z0-9+.-]*:/{1,2}[^/?#]*:.*@", text, re.IGNORECASE | re.DOTALL))


def _is_service_role(text: str) -> bool:
    return "sb_secret_" in text or any(map(opens_a_project, _JWT.findall(text)))


def _is_google_token(text: str) -> bool:
    return bool(re.search(r"\b(?:ya29\.|GOCSPX-|AIza[\w-]{20}|1//0[\w-]{20})", text))


def _is_pem(text: str) -> bool:
    return "-----BEGIN " in text or "PRIVATE KEY-----" in text


_LOOKS: tuple[tuple[Callable[[str], bool], Look], ...] = (
    (_is_service_account, Look("JSON of a service account", _KEY_FILE)),
    (_is_pem, Look("a PEM block", _KEY_FILE)),
    (_is_postgres_url, Look("a database URL", _DATABASE)),
    (_has_password, Look("an address with a password in it", _NOWHERE)),
    (_is_dsn, Look("a connection string with a password", "it goes to SUPABASE_DB_URL or --database-url, written as a URL")),
    (_is_service_role, Look("a Supabase service role key", _SUPABASE_KEY)),
    (lambda text: bool(_JWT.search(text)), Look("a token (JWT)", _SUPABASE_KEY)),
    (_is_google_token, Look("a token of Google's", _KEY_FILE)),
)
