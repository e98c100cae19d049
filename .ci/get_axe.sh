#!/usr/bin/env bash
# Gets axe-core, with which the tests look for what a screen reader or a keyboard cannot use on the page. It is a
# package of npm alone, and nothing of it runs here: one file is taken from the archive.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=4.14.1
sha256=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
file=.cache/axe/axe.min.js

[[ -s $file ]] && exit
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm pack --silent --pack-destination "$folder" "axe-core@$version" >/dev/null
echo "$sha256  $folder/axe-core-$version.tgz" | sha256sum --check --quiet
mkdir -p "${file%/*}"
tar -xzf "$folder/axe-core-$version.tgz" -C "$folder" package/axe.min.js
mv "$folder/package/axe.min.js" "$file"
