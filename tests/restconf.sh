#!/usr/bin/env bash
# Installs jetconf, the RESTCONF server that the tests speak to, below target/.
set -euo pipefail
cd "$(dirname "$0")/.."

wanted=cli/tests/support/restconf/requirements.txt
room=${CARGO_TARGET_DIR:-target}/restconf
if cmp -s "$wanted" "$room/requirements.txt"; then
    exit 0
fi
rm -rf "$room"
python3 -m venv "$room"
"$room/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement "$wanted"
# Last, for it says that all is there
cp "$wanted" "$room/requirements.txt"
