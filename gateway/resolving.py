"""Names to IP addresses, checked before anybody connects: the guard against names that lead inside."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable, Sequence

from gateway.addresses import AddressPolicy, IPAddress, NodeAddress, plain
from gateway.settings import LOOKUPS_AT_ONCE, MAX_IPS
from p2pgrid.errors import Unreachable

Lookup = Callable[[str], Sequence[str]]
"""A blocking name lookup: host name to IP addresses as text.  Raises ``OSError``."""


def system_lookup(host: str) -> list[str]:
    """What the system's resolver says, in its order."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Resolver:
    """Looks names up in threads of its own, a bounded number at once, and lets only checked addresses out.

    The threads are daemons: a name server that hangs keeps neither a caller past its deadline nor the process from
    ending.  A slot is given back when the thread ends, so hanging lookups cannot pile up.
    """

    def __init__(self, policy: AddressPolicy, lookup: Lookup = system_lookup) -> None:
        self._policy = policy
        self._lookup = lookup
        self._slots = asyncio.Semaphore(LOOKUPS_AT_ONCE)

    async def checked(self, address: NodeAddress, *, timeout: float) -> tuple[IPAddress, ...]:
        """All addresses behind ``address``.

        Raises ``Unreachable`` when the name has none or nobody says so in ``timeout`` seconds, and ``AddressRefused``
        when even one of them is refused: a name with one good and one bad address is an attack, not a node.
        """
        if address.ip is not None:
            self._policy.check(address.ip)
            return (address.ip,)
        try:
            async with asyncio.timeout(timeout):
                texts = await self._in_thread(address.host)
        except TimeoutError:
            raise Unreachable(f"Nobody said in {timeout:g} s where {address.host} is.") from None
        ips = tuple(plain(ipaddress.ip_address(text.partition("%")[0])) for text in texts)
        if not ips:
            raise Unreachable(f"{address.host} has no address.")
        for ip in ips:
            self._policy.check(ip)
        return ips[:MAX_IPS]

    async def _in_thread(self, host: str) -> Sequence[str]:
        await self._slots.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Sequence[str]] = loop.create_future()

        def finish(texts: Sequence[str], error: Exception | None) -> None:
            self._slots.release()
            if future.done():
                return
            if error is None:
                future.set_result(texts)
            else:
                future.set_exception(Unreachable(f"{host} cannot be looked up: {error}"))

        def work() -> None:
            texts: Sequence[str] = ()
            failure: Exception | None = None
            try:
                texts = self._lookup(host)
            except (OSError, UnicodeError) as error:
                failure = error
            if not loop.is_closed():
                try:
                    loop.call_soon_threadsafe(finish, texts, failure)
                except RuntimeError:
                    return  # the gateway ended between the two lines

        try:
            threading.Thread(target=work, name=f"lookup {host[:40]}", daemon=True).start()
        except RuntimeError as error:
            self._slots.release()
            raise Unreachable(f"{host} cannot be looked up: {error}") from error
        return await future
