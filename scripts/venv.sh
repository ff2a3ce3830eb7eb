#!/bin/sh
# Make or renew the virtual environment that runs and tests criwist:  scripts/venv.sh DIRECTORY
#
# It uses the first Python >= 3.11 that has venv: $PYTHON_FOR_VENV, python3 in PATH, the system's own.  As root it installs
# Debian's python3-venv if there is none.
set -eu

venv=${1:?directory}
root=$(dirname "$0")/..

can_make_venv() {
    "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for python in ${PYTHON_FOR_VENV:-} python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
        if command -v "$python" >/dev/null && can_make_venv "$python"; then
            echo "$python"
            return
        fi
    done
    return 1
}

if ! [ -x "$venv/bin/python" ] || ! "$venv/bin/python" -c '' 2>/dev/null; then
    if ! python=$(find_python); then
        "$root/scripts/packages.sh" python
        python=$(find_python) || {
            echo "criwist needs Python 3.11 or later with venv; set PYTHON_FOR_VENV to one" >&2
            exit 1
        }
    fi
    echo "making $venv with $("$python" --version)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi

echo "installing criwist and its tools into $venv"
pip="$venv/bin/python -m pip --disable-pip-version-check --quiet"
$pip install "setuptools>=70.1"  # from this version on it builds wheels by itself
# The versions that the tests have passed with: a later ruff, mypy or library must not turn a green commit red.
# Editable by a plain path: twistd searches for plugins in the directories of sys.path.
$pip install --no-build-isolation --config-settings editable_mode=compat \
    --constraint "$root/scripts/constraints.txt" --editable "$root[dev]"
