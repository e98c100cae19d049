#!/usr/bin/env bash
# Builds stand-ins for the official base images from Debian packages alone, for machines that reach no container
# registry. Prints one line for each: NAME=TAG, with the variables' names that docker-compose.yml knows.
#
# The stand-ins keep the official images' contract (*_FILE settings, user ids, data folders), and have names of their
# own, so that a real image is never replaced. The tag holds the hash of the recipe: what has not changed is not built.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
suite=bookworm
cache=${STANDIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/standin-images}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DOCKER_BUILDKIT=0

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
recipe_of() { cat "$@" | sha256sum | cut -c1-16; }
exists() { docker image inspect "$1" >/dev/null 2>&1; }

# This machine's own settings: where its apt finds Debian's packages, and whom it trusts.
apt_sources() {
    # shellcheck disable=SC2016 # the names are apt's
    apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' \
        2>/dev/null | grep -E " $suite(-security|-updates)? main$" | sort -u || true
}
[[ -n $(apt_sources) ]] || apt-get update -qq >&2
apt_sources >"$work/sources.list"
[[ -s $work/sources.list ]] || die "apt has no source for Debian $suite here"
pip_settings() {
    local key value
    printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n'
    for key in index-url extra-index-url trusted-host; do
        value=$(python3 -m pip config get "global.$key" 2>/dev/null) || continue
        [[ -z $value || $value == file:* ]] || printf '%s = %s\n' "$key" "$value"
    done
}
pip_settings >"$work/pip.conf"

build_base() {
    local tag=$1 tarball=$cache/base-$2.tar
    mkdir -p "$cache"
    if [[ ! -s $tarball ]]; then
        command -v mmdebstrap >/dev/null || die 'mmdebstrap is missing: apt-get install mmdebstrap'
        say "bootstrapping Debian $suite"
        printf '%s\n' 'Package: usrmerge' 'Pin: release *' 'Pin-Priority: -1' >"$work/no-usrmerge"
        mmdebstrap --quiet --variant=apt \
            --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
            --setup-hook="cp $work/no-usrmerge \"\$1\"/etc/apt/preferences.d/" \
            --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
            --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt=force-unsafe-io \
            --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
            --customize-hook="mkdir -p \"\$1\"/etc/ssl/certs" \
            --customize-hook="cp -L /etc/ssl/certs/ca-certificates.crt \"\$1\"/etc/ssl/certs/" \
            --customize-hook="cp -rL /usr/local/share/ca-certificates \"\$1\"/usr/local/share/" \
            --customize-hook="cp $work/pip.conf \"\$1\"/etc/pip.conf" \
            "$suite" "$cache/part-$2.tar" "$work/sources.list" >&2 || die 'the bootstrap failed'
        mv "$cache/part-$2.tar" "$tarball"
    fi
    docker import --change 'CMD ["bash"]' "$tarball" "$tag" >/dev/null
}

base_recipe=$(recipe_of build.sh "$work/sources.list" "$work/pip.conf")
base=standin-debian:$base_recipe
exists "$base" || build_base "$base" "$base_recipe"

# build_one FOLDER [ARGUMENT=IMAGE...]: sets `tag`; the images are those that it is built from.
build_one() {
    local folder=$1 argument arguments=()
    tag=standin-$folder:$(recipe_of <(echo "$base" "${@:2}") "$folder"/*)
    if exists "$tag"; then return; fi
    for argument in BASE="$base" "${@:2}"; do arguments+=(--build-arg "$argument"); done
    say "building $tag"
    docker build --network host --pull=false "${arguments[@]}" --tag "$tag" "$folder" >"$work/$folder.log" 2>&1 ||
        { cat "$work/$folder.log" >&2; die "$tag: the build failed"; }
}
build_one python
python=$tag
echo "BASE_IMAGE=$tag"
build_one postgres
postgres=$tag
echo "POSTGRES_IMAGE=$tag"
build_one redis
echo "REDIS_IMAGE=$tag"
if [[ ${1-} == --postgres-16 ]]; then
    build_one postgres16 PYTHON="$python" POSTGRES="$postgres"
    echo "POSTGRES_16_IMAGE=$tag"
fi
