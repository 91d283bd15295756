#!/bin/sh
# Make the environment named by the first argument from requirements.lock, with uv (second argument, may be empty).
set -eu
venv=$1
uv=${2:-}
if [ -z "$uv" ]; then
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet uv
    uv="$venv/bin/uv"
fi
[ -x "$venv/bin/python" ] || "$uv" venv --quiet --python ">=3.11" "$venv"
export VIRTUAL_ENV="$venv"
"$uv" pip install --quiet --require-hashes -r requirements.lock
"$uv" pip install --quiet --no-deps --editable .
