#!/usr/bin/env bash
# What only a GPU can show, in at most 8 minutes on one card, without the installation of what is missing:
#
#     tests/device/check.sh                        # results in $OUT, else in a temporary folder that is named
#     tests/device/check.sh --device cpu --tiny    # the same code, small, in under 2 minutes on two cores
#     tests/device/check.sh --only cnn,gan         # some parts; --list names them
#
# Needs Python 3.11 or newer. torch is taken as it is there; other packages that are missing are installed beside it
# into a temporary folder: from .whl/*.whl in the repository's root where there are such (a machine without a
# network), else with pip.
set -u
cd "$(dirname "$0")/../.." || exit 1
python=${PYTHON:-python3}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export OUT=${OUT:-$(mktemp -d)} PYTHONUNBUFFERED=1 MPLBACKEND=agg

missing=$("$python" tests/device/installation.py "$work/site") || exit 1
export PYTHONPATH="$PWD:$work/site:$("$python" tests/device/installation.py --paths)${PYTHONPATH:+:$PYTHONPATH}"
if [ -n "$missing" ]; then
    if compgen -G '.whl/*.whl' > /dev/null; then
        "$python" -m pip install -q --no-index --no-deps --no-compile --target "$work/site" .whl/*.whl || exit 1
    else
        "$python" -m venv --system-site-packages "$work/venv" || exit 1
        python=$work/venv/bin/python
        # shellcheck disable=SC2086 - a list of packages
        "$python" -m pip install -q $missing || exit 1
    fi
fi
"$python" tests/device/check.py --out "$OUT" --work "$work" "$@"
