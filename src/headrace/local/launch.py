"""Run as a script: tie this process to its parent, change user, become the command.

``python -I -S launch.py PARENT SIGNAL UID COMMAND...``: the kernel sends SIGNAL when the thread that started us
ends, however it ends. A script rather than a ``preexec_fn``, which is unsafe beside threads; a change of user
clears the setting, so it comes first. Standard library only. UID -1 keeps the user.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie, change user, exec."""
    parent, signal, uid = (int(word) for word in sys.argv[1:4])
    if uid >= 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal)
    if os.getppid() != parent:
        sys.exit("the parent is gone")
    os.execvp(sys.argv[4], sys.argv[4:])  # nosec B606  # that is what it is for


if __name__ == "__main__":
    main()
