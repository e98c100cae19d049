#!/usr/bin/env bash
# Looks for secrets in what git tracks, or in the files named. Exit code 1 when it finds something.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
hook=.venv/bin/detect-secrets-hook

if [[ $# == 0 ]]; then
    mapfile -d '' -t files < <(git ls-files -z)
    set -- "${files[@]}"
fi
tests=() others=()
for file in "$@"; do
    case $file in
    requirements*.txt) ;; # hashes, line after line
    tests/upgrade/deployments/*) ;; # whole deployments, whose secrets open nothing else
    tests/*) tests+=("$file") ;;
    *) others+=("$file") ;;
    esac
done
status=0
[[ ${#others[@]} == 0 ]] || "$hook" --exclude-lines '(SECRETS_BACKEND|SECRET_KEY_FILE)' "${others[@]}" || status=1
# Tests are full of names of secrets with made-up values; real keys and tokens are found there, too.
[[ ${#tests[@]} == 0 ]] || "$hook" --disable-plugin KeywordDetector "${tests[@]}" || status=1
exit "$status"
