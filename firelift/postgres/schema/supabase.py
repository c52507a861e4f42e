"""Asks a Supabase project's API whether address and key are right."""

from __future__ import annotations

import base64
import binascii
import json
from urllib.parse import urlsplit

import httpx

from firelift.errors import ConfigurationError, FireliftError

TIMEOUT_SECONDS = 15.0


class InvalidSupabaseUrl(ConfigurationError):
    """SUPABASE_URL is not an address of an API."""

    remedy = "It looks like https://<project>.supabase.co."


class SupabaseUnreachable(FireliftError):
    """The Supabase API does not answer."""

    recovery = "automatic"
    remedy = "Check SUPABASE_URL; a paused project must be restored in the dashboard first."


class InvalidApiKey(ConfigurationError):
    """Supabase refused the API key."""

    remedy = "Copy the service_role (or secret) key of this very project from Project Settings, API Keys."


class PublicKeyGiven(ConfigurationError):
    """The key is the public one, which may not do what a migration needs."""

    remedy = "Give the service_role (or secret) key as SUPABASE_SERVICE_ROLE_KEY."


class ApiFailed(FireliftError):
    """The Supabase API answered with an error."""

    remedy = "Check that SUPABASE_URL is the project's API address and that the project runs."


def check_api(url: str, key: str) -> None:
    """Asks the REST API's root once; raises the errors above. They never contain the key."""
    _refuse_unusable_url(url)
    _refuse_public_key(key)
    answer = _ask(url, key)
    if answer.status_code in (401, 403):
        raise InvalidApiKey(url=url, status=answer.status_code)
    if answer.status_code >= 500:
        raise SupabaseUnreachable(url=url, status=answer.status_code)
    if not answer.is_success:
        raise ApiFailed(url=url, status=answer.status_code)


def role_of(key: str) -> str | None:
    """The role a key stands for: the claim of a JWT, the prefix of the newer kind; None if it does not say."""
    if key.startswith("sb_publishable_"):
        return "anon"
    if key.startswith("sb_secret_"):
        return "service_role"
    try:
        payload = key.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, binascii.Error, ValueError, RecursionError):
        return None
    role = claims.get("role") if isinstance(claims, dict) else None
    return role if isinstance(role, str) else None


def _refuse_unusable_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidSupabaseUrl(url=url)


def _refuse_public_key(key: str) -> None:
    role = role_of(key)
    if role in ("anon", "authenticated"):
        raise PublicKeyGiven(role=role)


def _ask(url: str, key: str) -> httpx.Response:
    try:
        return httpx.get(f"{url.rstrip('/')}/rest/v1/", headers={"apikey": key, "Authorization": f"Bearer {key}"}, timeout=TIMEOUT_SECONDS)
    except (httpx.LocalProtocolError, UnicodeEncodeError):
        # A key with a line break or a letter that no header can carry. From nothing: the message quotes it.
        raise InvalidApiKey(url=url) from None
    except httpx.HTTPError as error:
        raise SupabaseUnreachable(url=url, said=str(error)) from error
