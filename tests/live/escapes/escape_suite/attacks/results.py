"""Answers that are made to harm whoever reads them, or to say what is the node's to say.

The control's node reads like many do: it unpickles what comes back, and opens bytes that look like Arrow with pyarrow.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from escape_suite.judges import forged, harmed
from escape_suite.model import Attack, Limits

_attack = partial(Attack, family="results", judge=harmed)
_NO_MSGPACK: Final = "fails: the control's answer is a pickle, and these bytes are none"
_PLAIN: Final = "fails: a pickle carries this value as it is, and reading it harms nobody"
_forgery = partial(_attack, control=_NO_MSGPACK)
_claim = partial(_attack, judge=forged, control="fails: the control has no report")
SMALL: Final = Limits(wall_seconds=4, cpu_seconds=3, memory_bytes=256 << 20, threads=32, result_bytes=1 << 20)

_FORGE: Final = """
        def everywhere(content):
            for fd in range(3, 64):
                try:
                    os.set_blocking(fd, False)
                    os.write(fd, content)
                except OSError:
                    pass

        def packed(value, code=None):
            import msgpack
            return msgpack.packb(value if code is None else msgpack.ExtType(code, value))

        def answers(result):
            body = packed({"failure": "", "error": "", "result": result, "ok": True})
            return [body, struct.pack(">I", len(body)) + body, struct.pack("<I", len(body)) + body, result]
"""


def _forge(result: str) -> str:
    """Writes ``result`` as an answer, in several framings, to each descriptor it has, and ends."""
    return f"""{_FORGE}
        def f():
            for content in answers({result}):
                everywhere(content)
            os._exit(0)
        """


_RAISES: Final = """
        class Evil:
            def __reduce__(self):
                script = "import os; [open(os.path.join(p, %r), 'w').close() for p in %r if os.access(p, 2)]"
                return (exec, (script % (AT["mark"], AT["writable"]),))
"""

ATTACKS: Final = (
    _attack("a-pickle-that-runs-code", source=f"{_RAISES}\n        def f(): return Evil()"),
    _attack(
        "a-pickle-within-an-object-array",
        source=f"""{_RAISES}
        def f():
            import numpy
            return numpy.array([Evil()], dtype=object)
        """,
    ),
    _attack(
        "a-pickle-within-a-frame",
        source=f"""{_RAISES}
        def f():
            import pandas
            return pandas.DataFrame({{"a": [Evil()]}})
        """,
    ),
    _attack(
        "a-pickle-in-bytes",
        control=_PLAIN,
        source=f"""{_RAISES}
        def f():
            import pickle
            return pickle.dumps(Evil())
        """,
    ),
    _attack(
        "an-object-array",
        control=_PLAIN,
        source="""
        def f():
            import numpy
            return numpy.array([{}, None, "x"], dtype=object)
        """,
    ),
    _attack(
        "a-record-array-with-overlapping-fields",
        control=_PLAIN,
        source="""
        def f():
            import numpy
            return numpy.zeros(4, numpy.dtype({"names": ["a", "b"], "formats": ["<i8", "<f8"], "offsets": [0, 4]}))
        """,
    ),
    _attack(
        "a-subclass-of-array-with-evil-methods",
        control="fails: its class is not there to be unpickled",
        source="""
        def f():
            import numpy
            class Evil(numpy.ndarray):
                def __array_finalize__(self, other): pass
                def tobytes(self, *a): return b"A" * 3
                def __getattribute__(self, name):
                    if name == "shape": return (1 << 40,)
                    return super().__getattribute__(name)
            return numpy.arange(3.0).view(Evil)
        """,
    ),
    _attack(
        "a-subclass-of-text-with-evil-methods",
        control="fails: its class is not there to be unpickled",
        source="""
        def f():
            class Evil(str):
                def __str__(self): os.kill(os.getpid(), 9)
                def encode(self, *a): return b"x" * (8 << 20)
                def __len__(self): return -5
            return Evil("x")
        """,
    ),
    _attack(
        "a-number-with-evil-methods",
        control="fails: its class is not there to be unpickled",
        source="""
        def f():
            class Evil(int):
                def bit_length(self): return 8 << 40
                def to_bytes(self, *a, **b): return b"x"
                def __index__(self): return 1 << 80
            return Evil(1 << 70)
        """,
    ),
    _attack(
        "a-deeply-nested-list",
        control="fails: the pickler itself refuses",
        source="""
        def f():
            x = []
            for _ in range(100_000):
                x = [x]
            return x
        """,
    ),
    _attack("a-list-that-holds-itself", control=_PLAIN, source="def f(): x = []; x.append(x); return x"),
    _attack(
        "keys-that-are-no-numbers", control=_PLAIN, source="def f(): return {float('nan') * i: i for i in range(900)}"
    ),
    _attack("keys-of-one-hash", control=_PLAIN, source="def f(): return {(2 ** 61 - 1) * i: i for i in range(7)}"),
    _attack("forged-msgpack", source=_forge("b'\\xc1' * 400"), control=_NO_MSGPACK),
    _attack("no-answer-at-all", source="def f(): os._exit(0)", control=_NO_MSGPACK),
    _forgery(
        "garbage-before-the-answer",
        source=_FORGE
        + """
        def f():
            everywhere(os.urandom(700))
            return 1
        """,
    ),
    _forgery("nested-a-hundred-thousand-deep", source=_forge("b'\\x91' * 100_000 + b'\\xc0'")),
    _forgery("a-list-of-four-milliards-that-is-empty", source=_forge("b'\\xdd\\xff\\xff\\xff\\xff'")),
    _forgery("maps-in-maps-that-claim-much", source=_forge("b'\\xdf\\x00\\x10\\x00\\x00' * 30")),
    _forgery(
        "an-array-of-huge-dimensions",
        source=_forge("packed(packed(['<f8', [1 << 31, 1 << 31, 1 << 2]]) + b'A' * 64, 1)"),
    ),
    _forgery("an-array-of-negative-shape", source=_forge("packed(packed(['<f8', [-1, -8]]) + b'A' * 64, 1)")),
    _forgery("an-array-of-no-size-and-huge-shape", source=_forge("packed(packed(['<f8', [0, 1 << 62]]), 1)")),
    _forgery("an-array-of-texts-without-width", source=_forge("packed(packed(['<U0', [1 << 40]]), 1)")),
    _forgery("an-array-of-objects", source=_forge("packed(packed(['|O', [1]]) + b'A' * 8, 1)")),
    _forgery("an-array-of-a-wrong-length", source=_forge("packed(packed(['<f8', [9]]) + b'A' * 64, 1)")),
    _forgery(
        "an-array-of-a-dtype-of-code",
        source=_forge("packed(packed(['i4,(2,)f8,__import__(\"os\")', [1]]) + b'A' * 64, 1)"),
    ),
    _forgery("an-unknown-extension", source=_forge("packed(b'A' * 64, 99)")),
    _forgery("a-number-of-a-megabyte", source=_forge("packed(b'\\x7f' * 900_000, 8)")),
    _forgery("a-time-that-never-was", source=_forge("packed(b'9999999-99-99T99:99:99+99:99', 5)")),
    _attack(
        "forged-arrow",
        limits=SMALL,
        source="""
        def f():
            import pyarrow
            sink = pyarrow.BufferOutputStream()
            table = pyarrow.table({"s": ["a" * 50] * 3})
            with pyarrow.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
            good = bytearray(sink.getvalue())
            offsets = struct.pack("4i", 0, 50, 100, 150)
            at = bytes(good).rindex(offsets)
            good[at:at + 16] = struct.pack("4i", 0, 1 << 30, 1 << 30, 2147483000)
            forged = bytes(good)
            try:
                import msgpack
                for content in answers(msgpack.packb(msgpack.ExtType(3, forged))):
                    everywhere(content)
                if AT["way"] != "bare":
                    os._exit(0)
            except ImportError:
                pass
            return forged
        """
        + _FORGE,
    ),
    _claim(
        "a-claim-that-it-never-began",
        source=_FORGE
        + """
        def f():
            body = packed({"failure": "unavailable", "error": "private", "result": b"", "started": False})
            for content in (body, struct.pack(">I", len(body)) + body, struct.pack("<I", len(body)) + body):
                everywhere(content)
            os._exit(0)
        """,
    ),
    _claim(
        "a-claim-of-another-tier-and-use",
        source=_FORGE
        + """
        def f():
            body = packed({"failure": "", "error": "", "result": b"\\x07", "tier": "forged", "held": ["forged"],
                           "cpu": -5.0, "wall": -5.0, "rss": -1, "started": True, "shape": "forged"})
            for content in (body, struct.pack(">I", len(body)) + body, struct.pack("<I", len(body)) + body):
                everywhere(content)
            os._exit(0)
        """,
    ),
    _claim(
        "raises-the-nodes-own-errors",
        source="""
        def f():
            import gc
            for item in gc.get_objects():
                if isinstance(item, type) and issubclass(item, Exception) and item.__name__ in ("Failed", "Refused"):
                    raise item("unavailable", "private")
            raise MemoryError("unavailable")
        """,
    ),
    _claim(
        "answers-twice",
        source=_FORGE
        + """
        def f():
            for content in answers(b"\\x07"):
                everywhere(content)
            return 7
        """,
    ),
    _claim(
        "a-child-answers-after-its-parent",
        source=_FORGE
        + """
        def f():
            if os.fork() == 0:
                time.sleep(0.2)
                for content in answers(b"\\xc0" * 9):
                    everywhere(content)
                os._exit(0)
            return 7
        """,
    ),
    _claim(
        "a-forked-copy-returns-too",
        source="""
        def f():
            return 7 if os.fork() else 8
        """,
    ),
    _claim(
        "breaks-what-packs-the-answer",
        source="""
        def f():
            import json
            for name in ("p2pgrid.wire", "msgpack", "struct", "os", "json"):
                module = sys.modules.get(name)
                for key in list(vars(module or json)) if name != "os" else ():
                    if key.startswith(("pack", "Pack", "dump", "MAX_")):
                        setattr(module or json, key, lambda *a, **b: b"\\xc1" * 99)
            return 7
        """,
    ),
)
