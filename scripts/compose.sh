#!/usr/bin/env bash
# Runs Docker Compose v2, as `docker compose` or as `docker-compose`, whichever this machine has.
set -Eeuo pipefail

die() {
    local line
    printf 'error: %s\n' "$1" >&2
    for line in "${@:2}"; do printf 'hint: %s\n' "$line" >&2; done
    exit 1
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
if docker compose version >/dev/null 2>&1; then exec docker compose "$@"; fi
command -v docker-compose >/dev/null ||
    die 'Docker Compose v2 is not installed' 'https://docs.docker.com/compose/install/linux/'
version=$(docker-compose version --short 2>/dev/null) || version=unknown
case ${version#v} in
1.*) die "docker-compose $version is too old: version 1 does not know this Compose file" \
    'Install Docker Compose v2: https://docs.docker.com/compose/install/linux/' ;;
esac
exec docker-compose "$@"
