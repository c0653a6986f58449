"""What a run might cost the node that reads it: its loop, its descriptors, its memory, its patience.

The control's node waits for one run at a time, and reads whatever comes; it has no loop that others wait for.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from escape_suite.judges import bloated, holds_descriptors, kept_busy, over_wall
from escape_suite.model import Attack, Limits

_attack = partial(Attack, family="node")
_NO_LOOP: Final = "fails: the control does nothing else meanwhile"
_BOUNDED: Final = "fails: the control keeps the first bytes only"
_NO_SOCKET: Final = "fails: the control's run holds no socket of its node"
LIMITS: Final = Limits(wall_seconds=3, cpu_seconds=2, memory_bytes=256 << 20, threads=24, output_bytes=64 << 10)
SHORT: Final = Limits(wall_seconds=1, cpu_seconds=1, memory_bytes=256 << 20, threads=24, output_bytes=64 << 10)
TOO_LONG: Final = 3.9
"""Seconds; each attack goes on for longer, and its limit is 1."""

_busy = partial(_attack, judge=kept_busy, limits=LIMITS, control=_NO_LOOP)
_wall = partial(_attack, judge=over_wall(TOO_LONG), limits=SHORT)

_CHANNELS: Final = """
        def channels():
            found = []
            for fd in range(3, 64):
                try:
                    if (os.fstat(fd).st_mode & 0o170000) == 0o140000:
                        found.append(fd)
                except OSError:
                    pass
            return found

        def drops(content, *where):
            while True:
                for fd in where:
                    try:
                        os.write(fd, content)
                    except OSError:
                        pass
"""

ATTACKS: Final = (
    _busy(
        "an-answer-in-drops",
        source=_CHANNELS
        + """
        def f():
            for fd in channels():
                os.write(fd, struct.pack(">I", 1 << 20))
            drops(b"x", *channels())
        """,
    ),
    _busy("output-in-drops", source=_CHANNELS + "\n        def f(): drops(b'x', 1, 2)"),
    _busy(
        "drops-of-everything-by-many-threads",
        source=_CHANNELS
        + """
        def f():
            for fd in channels():
                os.write(fd, struct.pack(">I", 1 << 20))
            for _ in range(12):
                threading.Thread(target=drops, args=(b"x", 1, *channels())).start()
            drops(b"x", 2, *channels())
        """,
    ),
    _busy(
        "lines-without-end",
        source="""
        def f():
            while True:
                os.write(1, b"\\n" * 65536)
        """,
    ),
    _busy(
        "an-answer-that-takes-long-to-read",
        source="""
        def f():
            import msgpack
            one = msgpack.packb(msgpack.ExtType(2, msgpack.packb(["<f8", []]) + bytes(8)))
            number = (15 << 20) // len(one)
            result = b"\\xdd" + struct.pack(">I", number) + one * number
            body = msgpack.packb({"failure": "", "error": "", "result": result})
            for fd in range(3, 64):
                try:
                    if (os.fstat(fd).st_mode & 0o170000) == 0o140000:
                        os.write(fd, struct.pack(">I", len(body)))
                        view = memoryview(body)
                        while view:
                            view = view[os.write(fd, view):]
                except OSError:
                    pass
            time.sleep(2)
        """,
    ),
    _wall(
        "its-first-thread-ends-and-another-goes-on",
        source=_CHANNELS
        + """
        def f():
            threading.Thread(target=time.sleep, args=(6,)).start()
            ctypes.CDLL(None).syscall(60, 0)
        """,
    ),
    _wall(
        "a-thread-answers-when-the-first-one-has-ended",
        source=_CHANNELS
        + """
        def late():
            try:
                import msgpack
            except ImportError:
                time.sleep(6)
            time.sleep(0.01)
            body = msgpack.packb({"failure": "", "error": "", "result": b"\\x07"})
            for fd in channels():
                os.write(fd, struct.pack(">I", len(body)) + body)
            time.sleep(6)

        def f():
            threading.Thread(target=late).start()
            ctypes.CDLL(None).syscall(60, 0)
        """,
    ),
    _wall(
        "an-answer-that-is-announced-and-never-comes",
        source=_CHANNELS
        + """
        def f():
            for fd in channels():
                os.write(fd, struct.pack(">I", 1000))
            time.sleep(6)
        """,
    ),
    _wall(
        "closes-all-that-it-has-and-stays",
        source="""
        def f():
            os.closerange(0, 64)
            time.sleep(6)
        """,
    ),
    _wall(
        "shuts-its-channel-and-stays",
        source=_CHANNELS
        + """
        def f():
            for fd in channels():
                raw(48, fd, 1)
            time.sleep(6)
        """,
    ),
    _attack(
        "an-answer-of-four-gigabytes",
        judge=bloated,
        limits=LIMITS,
        control=_BOUNDED,
        source=_CHANNELS
        + """
        def f():
            for fd in channels():
                os.write(fd, struct.pack(">I", (1 << 32) - 1))
            drops(b"x" * 65536, *channels())
        """,
    ),
    _attack(
        "output-of-gigabytes",
        judge=bloated,
        limits=LIMITS,
        control=_BOUNDED,
        source=_CHANNELS + "\n        def f(): drops(b'x' * 65536, 1, 2)",
    ),
    _attack(
        "sends-descriptors-with-its-answer",
        judge=holds_descriptors,
        limits=LIMITS,
        control=_NO_SOCKET,
        source=_CHANNELS
        + """
        def f():
            byte = ctypes.create_string_buffer(b"x")
            held = ctypes.create_string_buffer(struct.pack("NII48I", 16 + 48 * 4, 1, 1, *[0, 1, 2] * 16))
            vector = ctypes.create_string_buffer(struct.pack("PN", ctypes.addressof(byte), 1))
            message = struct.pack("PIPNPNI", 0, 0, ctypes.addressof(vector), 1, ctypes.addressof(held), 16 + 48 * 4, 0)
            words = {raw(46, fd, message, 0x40)[1] for fd in channels() for _ in range(64)}
            time.sleep(0.3)
            return sorted(words)
        """,
    ),
)
