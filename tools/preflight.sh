#!/bin/sh
# Names every missing system package in one line, before anything is installed.
set -u
python=${PYTHON:-python3}
missing=""

need() { # package, then a command that succeeds where it is installed
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

need git git --version
need g++ g++ --version
need make make --version
need perl perl -e 1
if command -v "$python" >/dev/null 2>&1; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "setup: $("$python" --version) is too old; Python 3.11 or newer is needed (set PYTHON=...)" >&2
        exit 1
    }
    need python3-venv "$python" -c 'import ensurepip, venv'
    # cocotb embeds the interpreter's shared library, unless the interpreter is built with its own.
    need libpython3.11 "$python" -c '
import ctypes, ctypes.util, sys, sysconfig
directory, name = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME")
for candidate in (f"{directory}/{name}", name, ctypes.util.find_library("python%d.%d" % sys.version_info[:2])):
    try:
        ctypes.CDLL(candidate)
        sys.exit(0)
    except (OSError, TypeError):
        pass
sys.exit(1)'
else
    missing="$missing python3 python3-venv libpython3.11"
fi
if [ -n "$missing" ]; then
    echo "setup: missing system packages; run: apt-get install$missing" >&2
    exit 1
fi
