"""Carrying data out, or reaching a service of the machine."""

from __future__ import annotations

from functools import partial
from typing import Final

from escape_suite.judges import arrived, let_through
from escape_suite.model import Attack

_attack = partial(Attack, family="network")
_tcp = partial(_attack, judge=arrived("tcp"))
_RAW: Final = "fails: raw sockets are root's"

ATTACKS: Final = (
    _tcp("tcp", source="def f(): send(socket.AF_INET, socket.SOCK_STREAM, ('127.0.0.1', AT['tcp']))"),
    _tcp("tcp-by-another-loopback-address", source="def f(): send(socket.AF_INET, 1, ('127.8.8.8', AT['tcp']))"),
    _tcp("tcp-to-no-address", source="def f(): send(socket.AF_INET, 1, ('0.0.0.0', AT['tcp']))"),
    _tcp("tcp-by-a-mapped-address", source="def f(): send(socket.AF_INET6, 1, ('::ffff:127.0.0.1', AT['tcp']))"),
    _tcp(
        "tcp-fast-open",
        source="""
        def f():
            with socket.socket() as sock:
                sock.sendto(AT["mark"].encode(), 0x20000000, ("127.0.0.1", AT["tcp"]))
        """,
    ),
    _tcp(
        "tcp-not-blocking",
        source="""
        def f():
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", AT["tcp"]))
            time.sleep(0.1)
        """,
    ),
    _tcp(
        "http-by-urllib",
        source="""
        def f():
            import urllib.request
            urllib.request.urlopen("http://127.0.0.1:%d/%s" % (AT["tcp"], AT["mark"]), timeout=0.3).read()
        """,
    ),
    _tcp(
        "tcp-by-a-program",
        source="""
        def f():
            import subprocess
            script = "echo %s > /dev/tcp/127.0.0.1/%d" % (AT["mark"], AT["tcp"])
            subprocess.run(["/bin/bash", "-c", script], timeout=3)
        """,
    ),
    _attack(
        "tcp-over-ipv6",
        judge=arrived("tcp6"),
        needs=("/proc/sys/net/ipv6/conf/lo/disable_ipv6", ("0",)),
        source="def f(): send(socket.AF_INET6, 1, ('::1', AT['tcp6']))",
    ),
    _attack(
        "multipath-tcp",
        judge=arrived("tcp"),
        needs=("/proc/sys/net/mptcp/enabled", ("1",)),
        source="def f(): send(socket.AF_INET, 1, ('127.0.0.1', AT['tcp']), 262)",
    ),
    _attack("udp", judge=arrived("udp"), source="def f(): send(socket.AF_INET, 2, ('127.0.0.1', AT['udp']))"),
    _attack(
        "udp-without-connecting",
        judge=arrived("udp"),
        source="""
        def f():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            return sock.sendto(AT["mark"].encode(), ("127.0.0.1", AT["udp"]))
        """,
    ),
    _attack(
        "secret-in-a-dns-question",
        judge=arrived("udp"),
        source="""
        def f():
            name = b"".join(bytes([len(part)]) + part for part in (AT["mark"].encode()[:60], b"example", b"org"))
            question = struct.pack(">6H", 7, 256, 1, 0, 0, 0) + name + b"\\0" + struct.pack(">2H", 1, 1)
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.sendmsg([question], [], 0, ("127.0.0.1", AT["udp"]))
        """,
    ),
    _attack(
        "udp-over-ipv6",
        judge=arrived("udp6"),
        needs=("/proc/sys/net/ipv6/conf/lo/disable_ipv6", ("0",)),
        source="def f(): send(socket.AF_INET6, 2, ('::1', AT['udp6']))",
    ),
    _attack(
        "unix-socket-with-a-path",
        judge=arrived("unix"),
        source="def f(): send(socket.AF_UNIX, socket.SOCK_STREAM, AT['unix'])",
    ),
    _attack(
        "unix-datagram-with-a-path",
        judge=arrived("unix-datagram"),
        source="def f(): send(socket.AF_UNIX, socket.SOCK_DGRAM, AT['unix_datagram'])",
    ),
    _attack(
        "unix-socket-with-an-abstract-name",
        judge=arrived("abstract"),
        source="def f(): send(socket.AF_UNIX, socket.SOCK_STREAM, '\\0' + AT['abstract'])",
    ),
    _attack(
        "a-named-pipe-of-the-node",
        judge=arrived("fifo"),
        source="def f(): return os.write(os.open(AT['fifo'], os.O_WRONLY | os.O_NONBLOCK), AT['mark'].encode())",
    ),
    _attack(
        "an-inherited-socket",
        judge=arrived("inherited"),
        source="def f(): return [str(attempt(os.write, fd, AT['mark'].encode())) for fd in range(3, 256)]",
    ),
    _attack(
        "a-descriptor-sent-over-an-inherited-socket",
        judge=arrived("inherited"),
        source="""
        def f():
            for fd in range(3, 256):
                try:
                    sock = socket.socket(fileno=os.dup(fd))
                    socket.send_fds(sock, [AT["mark"].encode()], [os.open("/", os.O_PATH)])
                except OSError:
                    pass
        """,
    ),
    _attack(
        "listens-for-a-caller",
        judge=let_through,
        source="""
        def f():
            try:
                sock = socket.socket()
                sock.bind(("127.0.0.1", 0))
                sock.listen()
                return "call:listen=OK"
            except OSError as error:
                return "call:listen=" + errno.errorcode.get(error.errno, "EPERM")
        """,
    ),
    _attack("netlink-socket", judge=let_through, source="def f(): return call('netlink', 41, 16, 3, 0)"),
    _attack(
        "raw-socket", judge=let_through, as_user=_RAW, capability=13, source="def f(): return call('raw', 41, 2, 3, 1)"
    ),
    _attack(
        "packet-socket",
        judge=let_through,
        as_user=_RAW,
        capability=13,
        source="def f(): return call('packet', 41, 17, 3, 768)",
    ),
    _attack("vsock-socket", judge=let_through, source="def f(): return call('vsock', 41, 40, 1, 0)"),
    _attack("crypto-socket", judge=let_through, source="def f(): return call('alg', 41, 38, 5, 0)"),
    _attack("bluetooth-socket", judge=let_through, source="def f(): return call('bluetooth', 41, 31, 3, 0)"),
    _attack(
        "a-socket-by-io-uring",
        judge=let_through,
        source="""
        def f():
            params = ctypes.create_string_buffer(120)
            return call("io_uring_setup", 425, 4, params)
        """,
        needs=("/proc/sys/kernel/io_uring_disabled", ("0",)),
    ),
    _attack(
        "a-message-queue-of-the-machine",
        judge=let_through,
        source="""
        def f():
            answer, word = raw(240, AT["mark"].encode(), os.O_CREAT | os.O_RDWR, 0o600, 0)
            raw(241, AT["mark"].encode())
            return "call:mq_open=" + word
        """,
    ),
)
