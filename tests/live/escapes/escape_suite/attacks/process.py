"""Acting on other processes, or leaving some behind."""

from __future__ import annotations

from functools import partial
from typing import Final

from escape_suite.judges import (
    arrived,
    changed,
    disturbed,
    hurt,
    left,
    let_through,
    over_tasks,
    proved,
    raised,
    signalled,
    told,
)
from escape_suite.model import Attack

_attack = partial(Attack, family="process")
_hurt = partial(_attack, judge=hurt)
_left = partial(_attack, judge=left)
_proved = partial(_attack, judge=proved)
_OWNER: Final = ("/proc/sys/kernel/yama/ptrace_scope", ("0",))
_ROOTS: Final = "fails: the call is root's"

_OWN = """
        def f():
            import fcntl
            ends = socket.socketpair() if {pair} else [os.fdopen(fd, "rb", 0) for fd in os.pipe()]
            fd = ends[0].fileno()
            {own}
            fcntl.fcntl(fd, 10, signal.SIGUSR2)
            fcntl.fcntl(fd, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
            os.write(ends[1].fileno(), b"now")
            time.sleep(0.1)
"""

ATTACKS: Final = (
    _hurt("kills-the-node", source="def f(): os.kill(AT['victim'], signal.SIGKILL)"),
    _hurt("stops-the-node", source="def f(): os.kill(AT['victim'], signal.SIGSTOP)"),
    _hurt("kills-the-node-by-tgkill", source="def f(): return raw(234, AT['victim'], AT['victim'], 9)"),
    _hurt(
        "kills-the-node-by-pidfd",
        source="""
        def f():
            fd = os.pidfd_open(AT["victim"])
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        """,
    ),
    _hurt(
        "kills-the-node-by-a-queued-signal",
        source="""
        def f():
            info = ctypes.create_string_buffer(128)
            struct.pack_into("iii", info, 0, 9, 0, -1)
            return raw(129, AT["victim"], 9, info)
        """,
    ),
    _attack("signals-the-node", judge=signalled, source="def f(): os.kill(AT['node'], signal.SIGUSR1)"),
    _attack(
        "signals-the-nodes-group",
        judge=signalled,
        source="""
        def f():
            for group in {AT["group"], os.getpgid(os.getppid())}:
                attempt(os.killpg, group, signal.SIGURG)
        """,
    ),
    _attack(
        "signals-the-node-by-owning-a-socket",
        judge=signalled,
        source=_OWN.format(pair=True, own="fcntl.fcntl(fd, fcntl.F_SETOWN, AT['node'])"),
    ),
    _attack(
        "signals-the-nodes-group-by-owning-a-socket",
        judge=signalled,
        source=_OWN.format(pair=True, own="fcntl.fcntl(fd, fcntl.F_SETOWN, -AT['group'])"),
    ),
    _attack(
        "signals-the-node-by-owning-a-pipe",
        judge=signalled,
        source=_OWN.format(pair=False, own="fcntl.fcntl(fd, 15, struct.pack('ii', 1, AT['node']))"),
    ),
    _attack(
        "kills-its-parent",
        judge=disturbed,
        beside=True,
        source="""
        def f():
            parent = os.getppid()
            if parent not in (0, AT["node"]):
                os.kill(parent, signal.SIGKILL)
            time.sleep(0.2)
        """,
    ),
    _attack(
        "stops-its-parent",
        judge=disturbed,
        beside=True,
        source="""
        def f():
            parent = os.getppid()
            if parent not in (0, AT["node"]):
                os.kill(parent, signal.SIGSTOP)
            time.sleep(0.2)
        """,
    ),
    _attack(
        "kills-all-that-it-sees-but-the-node",
        judge=disturbed,
        beside=True,
        source="""
        def f():
            spared = {0, 1, os.getpid(), AT["node"], *AT["spared"]}
            if os.getppid() > 1 and os.getppid() not in spared:
                attempt(os.kill, os.getppid(), signal.SIGTERM)
            for pid in AT["runs"]:
                if pid not in spared:
                    attempt(os.kill, pid, signal.SIGKILL)
        """,
    ),
    _attack(
        "traces-the-node",
        judge=told("memory"),
        needs=_OWNER,
        source="""
        def f():
            libc.ptrace.restype = ctypes.c_long
            word = lambda at: libc.ptrace(2, AT["victim"], ctypes.c_void_p(at), None)
            if libc.ptrace(16, AT["victim"], None, None):
                return "refused"
            os.waitpid(AT["victim"], 0x40000000)
            found = b"".join(struct.pack("q", word(AT["address"] + at)) for at in range(0, 64, 8))
            libc.ptrace(17, AT["victim"], None, None)
            return found.decode("latin1")
        """,
    ),
    _attack(
        "reads-the-nodes-memory-by-process-vm-readv",
        judge=told("memory"),
        needs=_OWNER,
        source="""
        def f():
            room = ctypes.create_string_buffer(64)
            here = struct.pack("QQ", ctypes.addressof(room), 64)
            there = struct.pack("QQ", AT["address"], 64)
            raw(310, AT["victim"], here, 1, there, 1, 0)
            return room.raw.decode("latin1")
        """,
    ),
    _hurt(
        "writes-the-nodes-memory-by-process-vm-writev",
        needs=_OWNER,
        source="""
        def f():
            room = ctypes.create_string_buffer(b"overwritten" * 3)
            here = struct.pack("QQ", ctypes.addressof(room), 32)
            there = struct.pack("QQ", AT["address"], 32)
            return raw(311, AT["victim"], here, 1, there, 1, 0)
        """,
    ),
    _hurt(
        "writes-the-nodes-memory-by-proc-mem",
        needs=_OWNER,
        source="""
        def f():
            with open("/proc/%d/mem" % AT["victim"], "r+b", buffering=0) as file:
                file.seek(AT["address"])
                file.write(b"overwritten" * 2)
        """,
    ),
    _attack(
        "takes-a-descriptor-of-the-node",
        judge=told("opened"),
        needs=_OWNER,
        source="""
        def f():
            taken, word = raw(438, os.pidfd_open(AT["victim"]), AT["victim_fd"], 0)
            return repr(os.pread(taken, 4096, 0))
        """,
    ),
    _hurt("slows-the-node", source="def f(): os.setpriority(os.PRIO_PROCESS, AT['victim'], 17)"),
    _hurt(
        "binds-the-node-to-one-core",
        source="def f(): os.sched_setaffinity(AT['victim'], {min(os.sched_getaffinity(0))})",
    ),
    _hurt(
        "schedules-the-node-last",
        source="def f(): os.sched_setscheduler(AT['victim'], os.SCHED_IDLE, os.sched_param(0))",
    ),
    _hurt(
        "lowers-a-limit-of-the-node",
        source="""
        def f():
            import resource
            resource.prlimit(AT["victim"], resource.RLIMIT_NOFILE, (77, 77))
        """,
    ),
    _hurt(
        "offers-the-node-to-the-oom-killer",
        source="def f(): open('/proc/%d/oom_score_adj' % AT['victim'], 'w').write('777')",
    ),
    _attack(
        "compares-itself-to-the-node",
        judge=let_through,
        needs=_OWNER,
        source="def f(): return call('kcmp', 312, os.getpid(), AT['victim'], 2, 0, 0)",
    ),
    _left("leaves-a-daemon", source="def f(): background(); time.sleep(0.1)"),
    _left("leaves-an-orphan-of-an-orphan", source="def f(): background(again=True); time.sleep(0.1)"),
    _left(
        "leaves-a-process-that-ignores-signals",
        source="""
        def f():
            for number in range(1, 32):
                attempt(signal.signal, number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
            background()
            time.sleep(0.1)
        """,
    ),
    _left(
        "leaves-a-process-made-by-clone",
        source="""
        def f():
            if raw(56, 17, 0, 0, 0, 0)[0] == 0:
                attempt(os.setsid)
                time.sleep(30)
                os._exit(0)
            time.sleep(0.1)
        """,
    ),
    _left(
        "leaves-a-process-without-a-death-signal",
        source="""
        def f():
            if os.fork() == 0:
                libc.prctl(1, 0, 0, 0, 0)
                attempt(os.setsid)
                time.sleep(30)
                os._exit(0)
            time.sleep(0.1)
            os._exit(0)
        """,
    ),
    _left(
        "leaves-another-program",
        source="""
        def f():
            import subprocess
            subprocess.Popen(["/bin/sleep", "30"], start_new_session=True, close_fds=False)
        """,
    ),
    _left(
        "goes-on-in-a-thread-after-its-answer",
        control="fails: a bare interpreter that has answered is ended by its parent",
        source="""
        def f():
            threading.Thread(target=time.sleep, args=(30,), daemon=False).start()
            return 1
        """,
    ),
    _proved(
        "runs-a-shell",
        source="""
        def f():
            import subprocess
            script = "echo %s-$((42*42))" % AT["mark"]
            return subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True).stdout
        """,
    ),
    _proved(
        "becomes-another-program",
        source="""
        def f():
            sys.stdout.flush()
            os.execv("/bin/sh", ["sh", "-c", "echo %s-$((42*42))" % AT["mark"]])
        """,
    ),
    _proved(
        "runs-a-program-by-the-loader",
        source="""
        def f():
            import subprocess, glob
            loader = (glob.glob("/lib64/ld-linux*") + glob.glob("/lib/ld-linux*"))[0]
            script = "echo %s-$((42*42))" % AT["mark"]
            return subprocess.run([loader, "/bin/sh", "-c", script], capture_output=True, text=True).stdout
        """,
    ),
    _proved(
        "runs-another-interpreter",
        source="""
        def f():
            import subprocess
            script = "print(%r + str(-42 * 42))" % AT["mark"]
            return subprocess.run([sys.executable or "/usr/bin/python3", "-I", "-c", script], capture_output=True,
                                  text=True, env={}).stdout
        """,
    ),
    _proved(
        "spawns-a-program",
        source="""
        def f():
            pid = os.posix_spawn("/bin/sh", ["sh", "-c", "echo %s-$((42*42))" % AT["mark"]], {})
            os.waitpid(pid, 0)
        """,
    ),
    _proved(
        "loads-a-library-into-a-program",
        source="""
        def f():
            import subprocess
            env = {"LD_DEBUG": "libs", "LD_PRELOAD": "/nonexistent.so", "LD_LIBRARY_PATH": AT["home"]}
            script = "echo %s-$((42*42))" % AT["mark"]
            return subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, env=env).stdout
        """,
    ),
    _attack(
        "gains-rights-by-a-set-uid-program",
        judge=raised,
        control="fails: a run of root's has nothing to gain",
        as_user="succeeds",
        source="""
        def f():
            import subprocess
            with subprocess.Popen(["/bin/su", "root"], stdin=subprocess.PIPE, start_new_session=True) as su:
                time.sleep(0.5)
                attempt(su.kill)
                su.stdin.close()
        """,
    ),
    _attack(
        "fork-bomb",
        judge=over_tasks(80),
        source="""
        def f():
            made = []
            for _ in range(150):
                try:
                    pid = os.fork()
                except OSError:
                    break
                if pid == 0:
                    time.sleep(1.5)
                    os._exit(0)
                made.append(pid)
            time.sleep(0.6)
            for pid in made:
                attempt(os.kill, pid, 9)
        """,
    ),
    _attack(
        "types-into-the-owners-terminal",
        judge=arrived("typed"),
        needs=("/proc/sys/dev/tty/legacy_tiocsti", ("1",)),
        source="""
        def f():
            import fcntl
            for path in ("/dev/tty", AT["tty"], "/proc/self/fd/0"):
                try:
                    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
                    for char in AT["mark"] + "\\n":
                        fcntl.ioctl(fd, 0x5412, char.encode())
                    return
                except OSError:
                    pass
        """,
    ),
    _attack(
        "writes-on-the-owners-terminal",
        judge=arrived("printed"),
        source="""
        def f():
            for path in ("/dev/tty", AT["tty"]):
                try:
                    os.write(os.open(path, os.O_WRONLY | os.O_NOCTTY), AT["mark"].encode())
                except OSError:
                    pass
        """,
    ),
    _attack(
        "raises-its-own-limits",
        judge=let_through,
        as_user=_ROOTS,
        capability=24,
        source="""
        def f():
            import resource
            done = []
            for which in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC):
                soft, hard = resource.getrlimit(which)
                if hard != resource.RLIM_INFINITY:
                    more = struct.pack("QQ", hard + 1, hard + 1)
                    done.append(call("prlimit %d" % which, 302, 0, int(which), more, None))
            return done
        """,
    ),
    _attack(
        "writes-the-parents-memory",
        judge=let_through,
        needs=_OWNER,
        source="def f(): return opened('/proc/%d/mem' % os.getppid(), os.O_RDWR)",
    ),
    _attack(
        "renames-a-thread-of-the-node",
        judge=changed,
        control="fails: only a process's own threads may",
        source="def f(): open('/proc/%d/comm' % AT['victim'], 'w').write(AT['mark'])",
    ),
)
