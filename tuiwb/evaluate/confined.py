"""The process in which code of a model runs (see sandbox.py). It runs this file by its path, and imports nothing of
ours: `python confined.py LIMITS` reads `main.py` in its working directory.
"""

import json
import platform
import sys
from pathlib import Path

NO_SECCOMP = 97
"""Exit status: the kernel gives no sandbox, and nothing was run."""

# Of each call: its number on x86_64 and on aarch64 (None: it is not there). Linux: arch/x86/entry/syscalls/
# syscall_64.tbl and include/uapi/asm-generic/unistd.h.
_FORBIDDEN: dict[str, tuple[int | None, int | None]] = {
    # other processes
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281), "kill": (62, 129),
    "tkill": (200, 130), "tgkill": (234, 131), "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "prlimit64": (302, 261),
    "setrlimit": (160, 164), "setpriority": (141, 140), "rt_sigqueueinfo": (129, 138),
    # the network, and other programs on this machine
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "memfd_create": (319, 279),
    # files
    "creat": (85, None), "unlink": (87, None), "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38),
    "renameat2": (316, 276), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "link": (86, None),
    "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36), "chmod": (90, None), "fchmod": (91, 52),
    "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None), "fchown": (93, 55), "lchown": (94, None),
    "fchownat": (260, 54), "truncate": (76, 45), "mknod": (133, None), "mknodat": (259, 33), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    # the machine
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "bpf": (321, 280), "perf_event_open": (298, 241), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "userfaultfd": (323, 282),
}  # fmt: skip
# What the C library does in another way when it is told that these do not exist.
_UNKNOWN = {"clone3": (435, 435), "openat2": (437, 437), "io_uring_setup": (425, 425)}
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_CLONE, _OPEN, _OPENAT = (56, 220), (2, None), (257, 56)
_CLONE_THREAD, _WRITES = 0x10000, 0o1 | 0o2 | 0o100 | 0o1000 | 0o20000000  # O_WRONLY O_RDWR O_CREAT O_TRUNC O_TMPFILE

_LOAD, _EQUAL, _AT_LEAST, _ANY_OF, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _REFUSE, _ABSENT = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026  # errno EPERM, ENOSYS
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data


def _filter(machine: str) -> list[tuple[int, int, int, int]]:
    """The classic BPF program: (code, jump if true, jump if false, constant)."""
    column, architecture = ARCHITECTURES[machine]
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, _KILL),
    ]  # fmt: skip
    for calls, answer in ((_FORBIDDEN, _REFUSE), (_UNKNOWN, _ABSENT)):
        for numbers in calls.values():
            if (number := numbers[column]) is not None:
                lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, answer)]
    for numbers, argument, bits, asked in (
        (_CLONE, 0, _CLONE_THREAD, _ALLOW), (_OPEN, 1, _WRITES, _REFUSE), (_OPENAT, 2, _WRITES, _REFUSE),
    ):  # fmt: skip
        if (number := numbers[column]) is not None:
            other = _REFUSE if asked == _ALLOW else _ALLOW
            lines += [
                (_EQUAL, 0, 4, number), (_LOAD, 0, 0, _ARGUMENTS + 8 * argument), (_ANY_OF, 0, 1, bits),
                (_RETURN, 0, 0, asked), (_RETURN, 0, 0, other),
            ]  # fmt: skip
    return [*lines, (_RETURN, 0, 0, _ALLOW)]


def _confine() -> bool:
    """Take from this process what `_filter` forbids, for good."""
    import ctypes
    import struct

    program = b"".join(struct.pack("=HBBI", *line) for line in _filter(platform.machine()))
    code = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    libc = ctypes.CDLL(None, use_errno=True)
    given = Program(len(program) // 8, ctypes.addressof(code))
    no_new_privileges, seccomp, with_filter = 38, 22, 2
    libc.prctl(4, 0, 0, 0, 0)  # not dumpable: nobody else of this user is asked to trace it
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(seccomp, with_filter, ctypes.byref(given), 0, 0) == 0)


def _inside(limits: dict[str, int]) -> None:
    import resource

    for what, most in (
        (resource.RLIMIT_CPU, limits["seconds"]), (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_FSIZE, limits["output"]), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 64),
    ):  # fmt: skip
        resource.setrlimit(what, (most, most))
    source = Path("main.py").read_text("utf-8")
    if not _confine():
        sys.exit(NO_SECCOMP)
    exec(compile(source, "main.py", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    _inside(json.loads(sys.argv[1]))
