"""The aiohttp shell of links and of the JSON door: its public names in one place."""

from __future__ import annotations

from p2pgrid.link.connections import raise_open_files
from p2pgrid.link.door import Door, HttpServer, MetricsDoor, error_response, make_app, parse_search, read_json
from p2pgrid.link.fetch import client_session, fetch_json
from p2pgrid.link.links import Link
from p2pgrid.link.server import AppServer
from p2pgrid.link.session import Dispatch, LinkPeer
from p2pgrid.link.websocket import LinkLimits, LinkServer, WebSocketStream, connect, link_url

__all__ = [
    "AppServer",
    "Dispatch",
    "Door",
    "HttpServer",
    "Link",
    "LinkLimits",
    "LinkPeer",
    "LinkServer",
    "MetricsDoor",
    "WebSocketStream",
    "client_session",
    "connect",
    "error_response",
    "fetch_json",
    "link_url",
    "make_app",
    "parse_search",
    "raise_open_files",
    "read_json",
]
