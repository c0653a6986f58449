"""What a run might harm: files with secrets, listeners, a process of the node, a terminal.  The driver plays the node.

Success is seen here: what came out, what arrived, what changed.  After each attack all is put back.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import secrets
import select
import signal
import socket
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any, Final

COUNTED: Final = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGURG, signal.SIGIO)
ARRAY_REPEATS: Final = 4000

VICTIM: Final = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None)
libc.prctl(1, 9, 0, 0, 0)  # dies with the driver
libc.prctl(0x59616d61, -1, 0, 0, 0)  # whoever likes may trace it
secret = ctypes.create_string_buffer(sys.stdin.readline().strip().encode(), 256)
fd = os.open(sys.argv[1], os.O_RDONLY)
print(ctypes.addressof(secret), fd, flush=True)
time.sleep(3600)
"""


class Scene:
    """The canaries of one driver, in ``folder``.  ``close`` takes all away."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.tokens = {name: secrets.token_hex(16) for name in NAMES}
        self.signals = 0
        for number in COUNTED:
            signal.signal(number, self._count)
        self._make_files()
        self._make_terminal()
        self._make_listeners()
        self.victim = self._victim()
        self.renew()

    def _count(self, _number: int, _frame: Any) -> None:
        self.signals += 1

    def _make_files(self) -> None:
        import numpy as np

        self.files = {
            "key": self.home / "node.key",
            "database": self.home / "domain.db",
            "asset": self.home / "assets" / "of-another.npy",
            "input": self.home / "assets" / "input.npy",
            "ssh": self.folder / "people" / ".ssh" / "id_ed25519",
            "public": self.folder / "public" / "notes.txt",
            "on-path": self.folder / "path" / "escape_canary.py",
            "opened": self.home / "opened.txt",
            "left-in-tmp": Path("/tmp") / f"escape-left-{os.getpid()}",
            "left-in-shm": Path("/dev/shm") / f"escape-left-{os.getpid()}",
        }
        for name, path in self.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if name != "input":
                path.write_text(f'TOKEN = "{self.tokens[name]}"\n')
                path.chmod(0o644 if name in ("public", "on-path") else 0o600)
        array = np.frombuffer((self.tokens["array"] + "-in-the-array").encode() * ARRAY_REPEATS, np.uint8)
        np.save(self.files["input"], array)
        self.home.chmod(0o700)
        self.content = {name: path.read_bytes() for name, path in self.files.items()}
        with open("/etc/passwd") as file:
            self.tokens["passwd"] = file.readline().strip()
        sys.path.append(str(self.files["on-path"].parent))
        os.environ["PYTHONPATH"] = str(self.files["on-path"].parent)
        os.environ["ESCAPE_CANARY"] = self.tokens["variable"]
        self.inherited = [os.open(self.files["opened"], os.O_RDONLY), os.open(self.home, os.O_RDONLY)]

    def _make_terminal(self) -> None:
        """A terminal of the node's session, as an owner's would be."""
        os.setsid()
        self._master, self._slave = os.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSCTTY, 0)
        mode = termios.tcgetattr(self._slave)
        mode[3] &= ~(termios.ECHO | termios.TOSTOP)
        termios.tcsetattr(self._slave, termios.TCSANOW, mode)
        self._terminal = os.ttyname(self._slave)

    def _make_listeners(self) -> None:
        self.abstract = f"escape-{secrets.token_hex(8)}"
        wanted = {
            "tcp": (socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", 0)),
            "udp": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "tcp6": (socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
            "udp6": (socket.AF_INET6, socket.SOCK_DGRAM, ("::1", 0)),
            "unix": (socket.AF_UNIX, socket.SOCK_STREAM, str(self.folder / "node.sock")),
            "unix-datagram": (socket.AF_UNIX, socket.SOCK_DGRAM, str(self.folder / "node.dgram")),
            "abstract": (socket.AF_UNIX, socket.SOCK_STREAM, "\0" + self.abstract),
        }
        self.listeners: dict[str, socket.socket] = {}
        for name, (family, kind, address) in wanted.items():
            with contextlib.suppress(OSError):  # a machine without IPv6
                sock = socket.socket(family, kind)
                sock.bind(address)
                sock.setblocking(False)
                if kind == socket.SOCK_STREAM:
                    sock.listen(64)
                self.listeners[name] = sock
        self._own_end, given = socket.socketpair()
        self._own_end.setblocking(False)
        self.inherited.append(given.detach())
        os.mkfifo(self.folder / "fifo")
        self._fifo = os.open(self.folder / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        for fd in self.inherited:
            os.set_inheritable(fd, True)

    def _victim(self) -> subprocess.Popen[str]:
        """A process of the node that holds secrets and is not even hidden from a tracer."""
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", VICTIM, str(self.files["opened"])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"ESCAPE_SECRET": self.tokens["environ"]},
            cwd=self.home,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(self.tokens["memory"] + "\n")
        process.stdin.flush()
        self._address, self._victim_fd = map(int, process.stdout.readline().split())
        self._victim_was = self._victim_state(process.pid)
        return process

    def renew(self) -> None:
        """A new mark, and nothing counted yet."""
        self.mark = f"escape-{secrets.token_hex(6)}"
        self.signals = 0

    def places(self, way: str, runs: list[int]) -> dict[str, Any]:
        """All that an attacker could find out."""
        folders = [self.folder / "people", self.home, self.folder, "/tmp", "/var/tmp", "/dev/shm"]
        found = {name.replace("-", "_"): str(path) for name, path in self.files.items()}
        ports = {name: sock.getsockname()[1] for name, sock in self.listeners.items() if name in PORTS}
        return {
            **dict.fromkeys(PORTS, 1),
            **found,
            **ports,
            "way": way,
            "mark": self.mark,
            "number": int(self.mark[-7:], 16),
            "home": str(self.home),
            "writable": [str(folder) for folder in folders],
            "temporary": [str(self.files["left-in-tmp"]), str(self.files["left-in-shm"])],
            "program": self._program(),
            "unix": str(self.folder / "node.sock"),
            "unix_datagram": str(self.folder / "node.dgram"),
            "abstract": self.abstract,
            "fifo": str(self.folder / "fifo"),
            "tty": self._terminal,
            "node": os.getpid(),
            "group": os.getpgid(0),
            "victim": self.victim.pid,
            "victim_fd": self._victim_fd,
            "address": self._address,
            "spared": [self.victim.pid],
            "runs": runs,
            "handle": self._handle(),
            "disks": [f"/dev/{name}" for name in sorted(os.listdir("/sys/block"))[:4]],
            "input_token": self.tokens["array"],
        }

    def _program(self) -> list[str]:
        import numpy

        import p2pgrid

        return [os.path.dirname(p2pgrid.__file__), os.path.dirname(os.path.dirname(numpy.__file__))]

    def _handle(self) -> str:
        """The key's file handle, as root knows it (open_by_handle_at(2))."""
        room = ctypes.create_string_buffer((128).to_bytes(4, sys.byteorder), 136)
        mount = ctypes.c_int()
        libc = ctypes.CDLL(None)
        libc.syscall(303, -100, os.fsencode(self.files["key"]), room, ctypes.byref(mount), 0)
        return room.raw[: 8 + int.from_bytes(room.raw[:4], sys.byteorder)].hex()

    def secrets_in(self, text: str) -> frozenset[str]:
        """Names of the canaries whose content is in ``text``."""
        return frozenset(name for name, token in self.tokens.items() if token in text)

    def arrivals(self) -> frozenset[str]:
        """Names of the listeners that heard something since the last time."""
        found = set()
        for name, sock in self.listeners.items():
            with contextlib.suppress(OSError):
                while True:
                    if sock.type == socket.SOCK_STREAM:
                        sock.accept()[0].close()
                    else:
                        sock.recv(4096)
                    found.add(name)
        with contextlib.suppress(OSError):
            while self._own_end.recvmsg(65536, 65536)[0]:
                found.add("inherited")
        with contextlib.suppress(OSError):
            if os.read(self._fifo, 65536):
                found.add("fifo")
        for name, fd in (("typed", self._slave), ("printed", self._master)):
            while select.select([fd], [], [], 0)[0]:
                if self.mark.encode() in os.read(fd, 65536):
                    found.add(name)
        return frozenset(found)

    def changes(self) -> tuple[str, ...]:
        """Files that are new, gone or altered; they are put back."""
        found = []
        self.home.chmod(0o700)
        program = [place for folder in self._program() for place in (folder, f"{folder}/__pycache__")]
        for folder in (*self.places("", [])["writable"], *program, "."):
            for name in (self.mark, "core", f"core.{os.getpid()}"):
                path = os.path.join(folder, name)
                if os.path.lexists(path):
                    found.append(path)
                    os.unlink(path)
        for name, path in self.files.items():
            if not self._same(name, path):
                found.append(str(path))
                for new in path.parent.glob(path.name + "-*"):
                    new.unlink()
                path.unlink(missing_ok=True)
                path.write_bytes(self.content[name])
                path.chmod(0o644 if name in ("public", "on-path") else 0o600)
                os.utime(path, (TIME, TIME))
        return tuple(found)

    def _same(self, name: str, path: Path) -> bool:
        try:
            now = path.stat()
            mode = 0o644 if name in ("public", "on-path", "input") else 0o600
            return path.read_bytes() == self.content[name] and now.st_mode & 0o777 in (mode, 0o600) and now.st_mtime > 9
        except OSError:
            return False

    def victim_fate(self) -> str:
        """What happened to the node's process; it is replaced if something did."""
        word = ""
        if self.victim.poll() is not None:
            word = "dead"
        else:
            state = self._victim_state(self.victim.pid)
            if state != self._victim_was:
                word = "altered: " + repr([new for new, old in zip(state, self._victim_was, strict=True) if new != old])
        if word:
            self.end_victim()
            self.victim = self._victim()
        return word

    def _victim_state(self, pid: int) -> tuple[Any, ...]:
        with open(f"/proc/{pid}/mem", "rb") as memory, open(f"/proc/{pid}/oom_score_adj") as score:
            memory.seek(self._address)
            content = memory.read(64)
            with open(f"/proc/{pid}/stat") as stat:
                stopped = stat.read().rpartition(")")[2].split()[0] in "Tt"
            return (
                stopped,
                content,
                score.read(),
                os.getpriority(os.PRIO_PROCESS, pid),
                sorted(os.sched_getaffinity(pid)),
                os.sched_getscheduler(pid),
                resource.prlimit(pid, resource.RLIMIT_NOFILE),
            )

    def end_victim(self) -> None:
        """Kill the node's process."""
        self.victim.kill()
        self.victim.wait()
        for pipe in (self.victim.stdin, self.victim.stdout):
            if pipe is not None:
                pipe.close()

    def close(self) -> None:
        """Take away what lies outside of the scene's folder."""
        self.end_victim()
        for name in ("left-in-tmp", "left-in-shm"):
            self.files[name].unlink(missing_ok=True)


TIME: Final = 1_700_000_000
PORTS: Final = ("tcp", "udp", "tcp6", "udp6")
NAMES: Final = (
    *("key", "database", "asset", "ssh", "public", "on-path", "opened", "left-in-tmp", "left-in-shm"),
    *("variable", "environ", "memory", "array"),
)
