#!/usr/bin/env bash
# Writes the secrets of the active store as files that Docker Compose mounts. See --help.
#
# Looks at the machine first, without changing anything; then one Python process reads the store and writes the files.
set -Eeuo pipefail
umask 077
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Who owns a file inside a container depends on how the engine maps users.
find_engine() {
    local info security directory
    command -v docker >/dev/null || { echo absent; return; }
    info=$(timeout 10 docker info --format '{{.SecurityOptions}}|{{.DockerRootDir}}' 2>/dev/null) || { echo silent; return; }
    security=${info%|*} directory=${info##*|}
    [[ -n $directory ]] || { echo silent; return; }
    case $security in
    *name=rootless*) echo rootless ;;
    *name=userns*)
        # The engine keeps a remapped user's data in <root>/<uid>.<gid>.
        [[ $directory =~ /([0-9]+)\.([0-9]+)$ ]] ||
            die "The Docker engine maps users, but $directory does not say to which" 'docker info'
        echo "userns:${BASH_REMATCH[1]}:${BASH_REMATCH[2]}"
        ;;
    *) echo rootful ;;
    esac
}

python=$root/.venv/bin/python
[[ -x $python ]] || python=$(command -v python3) || die 'Python is not installed' 'make install'
export PYTHONPATH="$root" PYTHONSAFEPATH=1
# The engine is asked while Python starts.
exec "$python" -c '
import sys
from src.utils.interpreter import require_packages
require_packages("cryptography", "dotenv")
from src.ops.commands.docker_secrets import main
sys.exit(main(sys.argv[1:]))' --engine-descriptor 3 "$@" 3< <(find_engine)
