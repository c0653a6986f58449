"""E-mails through a real SMTP server: with TLS, after failures, after a restart, and to nobody in between."""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from p2pgrid import crypto
from p2pgrid.config import load_settings
from p2pgrid.domain.notices import RETRIES
from p2pgrid.domain.runner import Runner
from p2pgrid.domain.service import Caller, DomainLimits, DomainService, Post
from p2pgrid.domain.storage import Storage
from p2pgrid.errors import BadConfig

OWNER = {"email": "info@openmined.org", "password": "changethis"}
JANE = {"name": "Jane Doe", "email": "jane@caltech.edu", "password": "abc123"}
USER, WORD = "node", "p@ss/w%rd"
LOGIN = "node:p%40ss%2Fw%25rd"


@dataclass
class Letters:
    """What a mail server took, and what it thinks of the next ones."""

    taken: list[Any] = field(default_factory=list)
    answer: str = "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        encrypted = server.transport.get_extra_info("sslcontext") is not None
        if self.answer.startswith("250"):
            self.taken.append((envelope.rcpt_tos, encrypted, message_from_bytes(envelope.content)))
        return self.answer


@pytest.fixture
def letters() -> Letters:
    return Letters()


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return authority


@pytest.fixture
def serve(letters: Letters, authority: trustme.CA) -> Iterator[Callable[..., int]]:
    """Start a mail server; the answer is its port."""
    import ssl

    running: list[Controller] = []

    def check(server: Any, session: Any, envelope: Any, mechanism: str, auth: Any) -> AuthResult:
        good = isinstance(auth, LoginPassword) and (auth.login, auth.password) == (USER.encode(), WORD.encode())
        return AuthResult(success=good, handled=False)

    def start(how: str = "starttls", port: int = 0, names: tuple[str, ...] = ("127.0.0.1",)) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(context)
        more: dict[str, Any] = {}
        if how == "starttls":
            more = {"tls_context": context, "require_starttls": True}
        elif how == "tls":
            more = {"ssl_context": context, "auth_require_tls": False}
        if how != "plain":
            more |= {"authenticator": check, "auth_required": True}
        port = port or free_port()
        controller = Controller(letters, hostname="127.0.0.1", port=port, **more)
        controller.start()
        running.append(controller)
        return port

    yield start
    for controller in running:
        controller.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class House:
    """A domain whose clock a test moves, and its owner."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, 1_700_000_000.0
        self.identity = crypto.Identity.generate(secrets.token_bytes)
        self.runner = Runner(hide=[folder])
        self.owner = Caller()
        self.service: DomainService | None = None

    async def open(self, url: str | None, **limits: int) -> DomainService:
        await self.close()
        service = DomainService(
            Storage.in_folder(self.folder),
            self.runner,
            identity=self.identity,
            name="Bob",
            clock=lambda: self.now,
            limits=DomainLimits(**limits),
            post=Post.parse(url, "grid@example.org") if url else None,
        )
        await service.open()
        self.service = service
        await service.ensure_owner(verify_key=self.identity.public)
        self.owner = Caller(self.identity.public)
        await service.call(self.owner, "auth.key", {})
        return service

    async def close(self) -> None:
        if self.service is not None:
            await self.service.close()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    folder = tmp_path / "home"
    folder.mkdir()
    house = House(folder)
    yield house
    await house.close()
    await house.runner.close()


async def register(house: House, **more: str) -> None:
    assert house.service is not None
    await house.service.call(house.owner, "account.register", {**JANE, **more})


@pytest.mark.filterwarnings("ignore:Requiring AUTH")  # of the server, whose TLS here is around all of it
@pytest.mark.parametrize(("how", "scheme"), [("starttls", "smtp"), ("tls", "smtps")])
async def test_a_letter_goes_out_encrypted_and_says_little(
    house: House, letters: Letters, serve: Callable[..., int], how: str, scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service = await house.open(f"{scheme}://{LOGIN}@127.0.0.1:{serve(how)}")
    await register(house)
    assert await service.send_mail() == 1
    assert await service.send_mail() == 0
    _, encrypted, letter = next(one for one in letters.taken if one[0] == [JANE["email"]])
    assert encrypted
    assert (letter["From"], letter["To"]) == ("grid@example.org", JANE["email"])
    assert letter["Subject"] == "[Bob] You have an account here."
    assert JANE["password"] not in letter.get_payload()
    assert WORD not in caplog.text


async def test_what_a_server_refuses_is_tried_again_and_then_given_up(
    house: House, letters: Letters, serve: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    service = await house.open(f"smtp://{LOGIN}@127.0.0.1:{serve()}")
    await register(house)
    letters.answer = "451 jane@caltech.edu is busy"
    for wait in RETRIES:
        assert await service.send_mail() == 0
        house.now += wait - 1
        assert await service.send_mail() == 0
        house.now += 1
    letters.answer = "250 OK"
    assert await service.send_mail() == 1
    await register(house, email="bob@x")
    letters.answer = "550 no"
    for wait in (*RETRIES, 0.0):
        await service.send_mail()
        house.now += wait
    letters.answer = "250 OK"
    house.now += 1e6
    assert await service.send_mail() == 0
    assert "given up after 6 tries" in caplog.text
    assert "jane@caltech.edu" not in caplog.text


async def test_a_queue_outlives_a_restart_and_a_server_that_is_down(
    house: House, letters: Letters, serve: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    service = await house.open(f"smtp://{LOGIN}@127.0.0.1:{port}")
    await register(house)
    assert await service.send_mail() == 0
    assert WORD not in caplog.text
    service = await house.open(f"smtp://{LOGIN}@127.0.0.1:{port}")
    serve(port=port)
    assert await service.send_mail() == 0
    house.now += RETRIES[0]
    assert await service.send_mail() == 1


async def test_a_mail_server_of_somebody_else_gets_neither_password_nor_letter(
    house: House, letters: Letters, serve: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In between sits somebody with a certificate for another name."""
    service = await house.open(f"smtp://{LOGIN}@127.0.0.1:{serve(names=('mail.example.com',))}")
    await register(house)
    assert await service.send_mail() == 0
    assert letters.taken == []


async def test_a_stripped_starttls_sends_nothing(house: House, letters: Letters, serve: Callable[..., int]) -> None:
    """Elsewhere than on this machine a server that offers no encryption is not used; here a relay may do without."""
    port = serve("plain")
    post = Post.parse(f"smtp://127.0.0.1:{port}", "grid@example.org")
    assert post.send([(JANE["email"], "a subject", "a body")]) == [""]
    with pytest.raises(Exception, match="STARTTLS"):
        Post.parse(f"smtp://127.1:{port}", "grid@example.org").send([(JANE["email"], "a subject", "a body")])
    assert len(letters.taken) == 1


async def test_a_wrong_password_of_the_mail_server_is_in_no_log(
    house: House, serve: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service = await house.open(f"smtp://node:wrong-word@127.0.0.1:{serve()}")
    await register(house)
    assert await service.send_mail() == 0
    assert "SMTPAuthenticationError 535" in caplog.text
    assert "wrong-word" not in caplog.text + repr(service._domain.post)


async def test_who_wants_no_mail_gets_none_and_the_queue_is_bounded(
    house: House, letters: Letters, serve: Callable[..., int]
) -> None:
    service = await house.open(f"smtp://{LOGIN}@127.0.0.1:{serve()}", mails_each=3)
    for _ in range(6):
        await service.call(house.owner, "account.reset", {})
    assert await service.send_mail() == 3
    await service.call(house.owner, "account.update", {"mail": False})
    await service.call(house.owner, "account.reset", {})
    assert await service.send_mail() == 0
    assert len((await service.call(house.owner, "notification.list", {}))["notifications"]) == 7


async def test_a_header_cannot_be_smuggled_in_by_an_address(letters: Letters, serve: Callable[..., int]) -> None:
    post = Post.parse(f"smtp://{LOGIN}@127.0.0.1:{serve()}", "grid@example.org")
    ends = post.send([("eve@x\r\nBcc: all@x", "s", "b"), ("eve@x", "s\r\nBcc: all@x", "b"), ("eve@x", "s", ".\r\nb")])
    assert ends[0]
    assert ends[1]
    assert [one[0] for one in letters.taken] == [["eve@x"]]


@pytest.mark.parametrize("url", ["http://x", "smtp://", "smtp://h:99999", "smtp://[", "", "smtp:h"])
def test_what_is_no_mail_server(url: str) -> None:
    with pytest.raises(BadConfig):
        Post.parse(url, "grid@example.org")


def test_a_mistyped_mail_server_does_not_show_its_password() -> None:
    with pytest.raises(BadConfig) as caught:
        Post.parse("smtp://node:secret-word@h:port", "grid@example.org")
    assert "secret-word" not in str(caught.value)


def test_a_mail_server_needs_a_sender() -> None:
    with pytest.raises(BadConfig, match="smtp_from"):
        Post.parse("smtp://h", "")


def test_a_node_sends_its_mail(
    letters: Letters, serve: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import p2pgrid as sy

    monkeypatch.setenv("P2PGRID_SMTP_URL", f"smtp://{LOGIN}@127.0.0.1:{serve()}")
    monkeypatch.setenv("P2PGRID_SMTP_FROM", "grid@example.org")
    with sy.orchestra.launch(name="Bob", home=tmp_path) as server:
        server.login(**OWNER).register(**JANE)
        deadline = time.monotonic() + 60
        while not letters.taken and time.monotonic() < deadline:
            time.sleep(0.05)
    assert [to for to, *_ in letters.taken] == [[JANE["email"]]]


def test_the_mail_servers_password_is_in_no_setting_that_is_shown() -> None:
    settings = load_settings(smtp_url="smtps://node:secret-word@mail.example.org", smtp_from="grid@example.org")
    assert "secret-word" not in repr(settings) + str(settings.model_dump())
