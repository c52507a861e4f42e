"""A proxy in the environment is for the network: servers on this machine are reached without it, everything else as before."""

from __future__ import annotations

import os
from urllib.request import getproxies_environment, proxy_bypass

import httpx
import pytest

from firelift.local.proxies import spare_this_machine

PROXY = "http://proxy.corp.example:3128"
HERE = ("127.0.0.1:4200", "localhost:4200", "[::1]:4200")
NAMES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "grpc_proxy", "NO_PROXY", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine_s(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "to be taken back")
        del os.environ[name]


def is_direct(host: str) -> bool:
    return bool(proxy_bypass(host))


@pytest.mark.parametrize("name", [name for name in NAMES if name.lower() != "no_proxy"])
def test_whatever_the_variable_servers_here_are_reached_without_it_and_others_with_it(name: str) -> None:
    os.environ[name] = PROXY
    assert spare_this_machine(os.environ) == []
    assert os.environ[name] == PROXY
    assert [host for host in HERE[:2] if not is_direct(host)] == []
    assert not is_direct("firestore.googleapis.com:443")


@pytest.mark.parametrize(
    ("exceptions", "direct", "through_the_proxy"),
    [
        ({"NO_PROXY": "corp.example"}, ["db.corp.example"], ["x.supabase.co"]),
        ({"no_proxy": "corp.example , .intern"}, ["db.corp.example", "a.intern"], ["x.supabase.co"]),
        ({"NO_PROXY": "corp.example", "no_proxy": ""}, [], ["db.corp.example"]),
        ({"NO_PROXY": ""}, [], ["db.corp.example"]),
        ({"NO_PROXY": "one.example", "no_proxy": "two.example"}, ["two.example"], ["one.example"]),
        ({"NO_PROXY": "*"}, ["x.supabase.co"], []),
        ({"NO_PROXY": "localhost"}, [], ["x.supabase.co"]),
    ],
)
def test_exceptions_that_are_there_stay(exceptions: dict[str, str], direct: list[str], through_the_proxy: list[str]) -> None:
    os.environ |= {"HTTP_PROXY": PROXY, **exceptions}
    assert ([host for host in direct if is_direct(host)], [host for host in through_the_proxy if is_direct(host)]) == (direct, [])
    spare_this_machine(os.environ)
    assert [host for host in (*direct, *HERE[:2]) if not is_direct(host)] == []
    assert [host for host in through_the_proxy if is_direct(host)] == []
    assert "HTTP_PROXY" in os.environ


def test_where_there_is_no_proxy_nothing_is_changed() -> None:
    os.environ["no_proxy"] = "corp.example"
    before = dict(os.environ)
    assert spare_this_machine(os.environ) == []
    assert dict(os.environ) == before


@pytest.mark.parametrize("value", ["socks://127.0.0.1:1080/", "socks4://127.0.0.1:1080", "http://proxy:not-a-port"])
@pytest.mark.parametrize("name", ["ALL_PROXY", "all_proxy", "https_proxy"])
def test_a_proxy_with_which_no_client_can_be_made_is_taken_away_and_named(name: str, value: str) -> None:
    os.environ |= {name: value, "HTTP_PROXY": PROXY}
    with pytest.raises((ValueError, ImportError, httpx.InvalidURL)):
        httpx.Client()
    assert spare_this_machine(os.environ) == [name]
    assert getproxies_environment()["http"] == PROXY
    httpx.Client().close()
