"""The bounded JSON client against servers that lie, hang, flood and lead away."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web as aioweb

from p2pgrid.errors import Malformed, Oversized, Unreachable
from p2pgrid.link.http import AppServer, fetch_json


async def good(request: aioweb.Request) -> aioweb.Response:
    return aioweb.json_response({"got": (await request.read()).decode(), "type": request.content_type})


async def refused(_: aioweb.Request) -> aioweb.Response:
    return aioweb.json_response({"error": {"code": "P2P-0002"}}, status=400)


async def html(_: aioweb.Request) -> aioweb.Response:
    return aioweb.Response(text="<html>", content_type="text/html")


async def big(_: aioweb.Request) -> aioweb.Response:
    return aioweb.Response(body=b" " * 100_000 + b"1")


async def endless(request: aioweb.Request) -> aioweb.StreamResponse:
    response = aioweb.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 10_000)


async def bomb(_: aioweb.Request) -> aioweb.Response:
    return aioweb.Response(body=gzip.compress(b" " * 10_000_000), headers={"Content-Encoding": "gzip"})


async def drip(request: aioweb.Request) -> aioweb.StreamResponse:
    response = aioweb.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.02)


async def away(_: aioweb.Request) -> aioweb.Response:
    raise aioweb.HTTPTemporaryRedirect("/good")


@pytest.fixture
async def url() -> AsyncIterator[str]:
    app = aioweb.Application()
    for handler in (good, refused, html, big, endless, bomb, drip, away):
        app.router.add_route("*", f"/{handler.__name__}", handler)
    server = AppServer(app)
    await server.start("127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.port}"
    await server.close()


async def test_json_there_and_back(url: str, web: aiohttp.ClientSession) -> None:
    for session in (None, web):
        assert await fetch_json("GET", f"{url}/good", session=session) == (
            200,
            {"got": "", "type": "application/octet-stream"},
        )
        status, answer = await fetch_json("POST", f"{url}/good", {"a": ["ü"]}, session=session)
        assert (status, json.loads(answer["got"]), answer["type"]) == (200, {"a": ["ü"]}, "application/json")


async def test_a_refusal_comes_with_its_status(url: str) -> None:
    assert await fetch_json("GET", f"{url}/refused") == (400, {"error": {"code": "P2P-0002"}})


@pytest.mark.parametrize("path", ["html", "bomb", "away"])
async def test_what_is_no_json_is_malformed(url: str, path: str) -> None:
    with pytest.raises(Malformed):
        await fetch_json("POST", f"{url}/{path}", {})


@pytest.mark.parametrize("path", ["big", "endless"])
async def test_an_oversized_answer_is_given_up(url: str, path: str) -> None:
    with pytest.raises(Oversized):
        await fetch_json("GET", f"{url}/{path}", limit_bytes=50_000)


async def test_a_dripping_answer_is_given_up_in_time(url: str) -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"within 0\.2 s"):
        await fetch_json("GET", f"{url}/drip", timeout=0.2)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/", "nonsense", "http://", "file:///etc/passwd", "http://x:y/"])
async def test_an_address_where_nothing_answers_is_unreachable(address: Any) -> None:
    with pytest.raises(Unreachable):
        await fetch_json("GET", address)
