"""Key files that log in: made once, for their owner only, and told clearly when they are none."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import pytest

from p2pgrid.client.bridge import Here
from p2pgrid.client.domain import DomainClient
from p2pgrid.client.door import Door
from p2pgrid.client.keys import key_pair
from p2pgrid.crypto import Identity, verify
from p2pgrid.errors import BadHome, BadSignature


def test_a_key_file_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a 'quoted' key"
    made = key_pair(path, make=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert key_pair(str(path), make=True).public == key_pair(path).public == made.public
    assert made.seed.hex() not in repr(made)


def test_a_key_pair_is_itself() -> None:
    pair = Identity.generate(secrets.token_bytes)
    assert key_pair(pair) is pair


@pytest.mark.parametrize("content", ["", "words", "00" * 31, "é" * 64, "-----BEGIN PRIVATE KEY-----"])
def test_a_file_without_a_key_is_told_without_its_content(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(BadHome, match="it holds no key") as caught:
        key_pair(path)
    assert not content or content not in str(caught.value)


def test_a_key_file_that_others_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "it's mine"
    key_pair(path, make=True)
    path.chmod(0o640)
    with pytest.raises(BadHome) as caught:
        key_pair(path)
    assert caught.value.fix == f"Run: chmod 600 '{tmp_path}/it'\"'\"'s mine'"


def test_what_is_no_plain_file_is_no_key_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("pipe", ""):
        with pytest.raises(BadHome, match="no plain file"):
            key_pair(tmp_path / name)


def test_a_key_file_that_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(BadHome, match="No such file") as caught:
        key_pair(tmp_path / "absent")
    assert "set-key" in caught.value.fix
    with pytest.raises(BadHome, match="There is no folder"):
        key_pair(tmp_path / "no" / "key", make=True)
    with pytest.raises(BadHome, match="home of nobody"):
        key_pair("~nobody-of-this-name/key")


class Poser:
    """A node that says to be another one, and whose account there to sign for."""

    def __init__(self, says: bytes, account: str) -> None:
        self.says, self.account = says, {"id": account, "email": "jane@caltech.edu"}
        self.taken: dict[str, Any] = {}

    async def call(self, verb: str, args: dict[str, Any], *, timeout: float = 0) -> Any:
        if verb == "account.set_key":
            self.taken = args
        return {"key": self.says.hex(), "id": "00" * 20} if verb == "node.metadata" else self.account

    async def close(self) -> None:
        pass


async def test_a_node_that_poses_as_another_gets_no_signature_for_it() -> None:
    good, posing, mine = (Identity.generate(secrets.token_bytes) for _ in range(3))
    channel = Poser(says=good.public, account="ab" * 16)
    client = DomainClient(Door(channel, mine, posing.public), Here(), {}, channel.account)
    await client.set_key(mine, password="abc123")
    said, signature = bytes.fromhex("ab" * 16), channel.taken["signature"]
    verify(mine.public, b"account-key", said + posing.public, signature)
    with pytest.raises(BadSignature):
        verify(mine.public, b"account-key", said + good.public, signature)
