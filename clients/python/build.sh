#!/bin/sh
# Installs what requirements.txt pins to the last byte, in the folder that this is called in, unless that is there already.
set -e
cmp -s requirements.txt lib/requirements.txt && exit 0
rm -rf lib
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-compile --require-hashes --target lib -r requirements.txt
cp requirements.txt lib/requirements.txt
