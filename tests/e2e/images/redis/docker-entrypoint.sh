#!/bin/sh
# Entry point of the stand-in redis image, with the contract of the official one:
# as root, hand /data to "redis" and go on as that user; options or a *.conf as first
# argument mean redis-server. No password setting: the official image has none.
set -eu
case ${1-} in -*|*.conf) set -- redis-server "$@" ;; esac
if [ "${1-}" = redis-server ]; then
    umask 0077
    if [ "$(id -u)" = 0 ]; then
        find /data ! -user redis -exec chown redis:redis {} +
        exec setpriv --reuid=redis --regid=redis --init-groups -- "$0" "$@"
    fi
    # The official build has protected mode off; Debian's has not. Command-line
    # options override a file, so do this only where no configuration is given.
    [ $# -gt 1 ] || set -- "$@" --protected-mode no
fi
exec "$@"
