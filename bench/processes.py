"""Whole processes: how long they take, and the most memory that one of them held."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping

# A process inherits the peak of the one that starts it: a bare interpreter stands between.
_PEAK = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss]))
"""


def run(command: list[str], environment: Mapping[str, str] | None = None) -> None:
    """Raises CalledProcessError where it fails."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)


def peak_mb(command: list[str], environment: Mapping[str, str] | None = None) -> float:
    """The most memory that a process held at once (resident set, MB of 2^20 bytes; what it mapped from files counts
    where it was read). Raises CalledProcessError where it fails."""
    launcher = [sys.executable, "-I", "-S", "-c", _PEAK, *command]
    done = subprocess.run(launcher, check=True, stdout=subprocess.PIPE, env=environment, text=True)
    code, peak = json.loads(done.stdout)
    if code:
        raise subprocess.CalledProcessError(code, command)
    return peak / (1024 if sys.platform == "linux" else 1 << 20)
