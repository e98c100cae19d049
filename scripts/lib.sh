# shellcheck shell=bash
# What the shell scripts share; sourced, not run.

root=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)

# Ends with an error: what happened, then a hint for each step.
die() {
    local hint
    printf 'error: %s\n' "$1" >&2
    for hint in "${@:2}"; do
        # A task of the Makefile is typed so that it works from where the person is.
        if [[ $hint == 'make '* && ! $PWD -ef $root ]]; then hint="make -C $(printf %q "$root") ${hint#make }"; fi
        printf 'hint: %s\n' "$hint" >&2
    done
    exit 1
}
