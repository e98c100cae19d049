#!/usr/bin/env bash
# Makes a virtual environment with the newest Python from 3.11 on that this machine has. Usage: make_venv.sh DIR
set -Eeuo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

is_new_enough() { "$1" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# A link to a Python that was removed, or that is another version by now, is no environment.
works() { is_new_enough "$1/bin/python" && "$1/bin/python" -I -c 'import pip' 2>/dev/null; }

find_python() {
    local python
    for python in ${PYTHON3:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$python" >/dev/null && is_new_enough "$python"; then
            command -v "$python"
            return
        fi
    done
    die 'Python 3.11 or newer is needed' 'sudo apt-get install python3 python3-venv'
}

directory=$1
if works "$directory"; then exit; fi
python=$(find_python)
"$python" -I -c 'import ensurepip, venv' 2>/dev/null ||
    die "$python cannot make virtual environments" \
        "sudo apt-get install $("$python" -I -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
"$python" -I -m venv --clear "$directory"
