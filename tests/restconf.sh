#!/usr/bin/env bash
# Installs jetconf, the RESTCONF server that the tests speak to, below target/.
set -euo pipefail
cd "$(dirname "$0")/.."

wanted=cli/tests/support/restconf/requirements.txt
venv=${CARGO_TARGET_DIR:-target}/restconf
if cmp -s "$wanted" "$venv/requirements.txt"; then
    exit 0
fi
rm -rf "$venv"
python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement "$wanted"
# Last: it marks the installation as complete
cp "$wanted" "$venv/requirements.txt"
