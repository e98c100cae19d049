#!/usr/bin/env bash
# Runs Docker Compose v2, as `docker compose` or as `docker-compose`, whichever this machine has, in the project's
# folder: these tools' own, or that of `--project-directory DIR`, as the first option.
set -Eeuo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if [[ ${1:-} == --project-directory ]]; then
    [[ -d ${2:-} ]] || die '--project-directory names no folder' 'Name the folder of the project'
    cd -- "$2"
    set -- --project-directory "$PWD" "${@:3}"
else
    cd -- "$root"
fi
if docker compose version >/dev/null 2>&1; then exec docker compose "$@"; fi
command -v docker-compose >/dev/null ||
    die 'Docker Compose v2 is not installed' 'https://docs.docker.com/compose/install/linux/'
version=$(docker-compose version --short 2>/dev/null) || version=unknown
case ${version#v} in
1.*) die "docker-compose $version is too old: version 1 does not know this Compose file" \
    'Install Docker Compose v2: https://docs.docker.com/compose/install/linux/' ;;
esac
exec docker-compose "$@"
