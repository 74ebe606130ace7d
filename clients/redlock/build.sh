#!/bin/sh
# Installs what package-lock.json pins to the last byte, unless that is there already.
set -e
cmp -s package-lock.json node_modules/installed.json && exit 0
npm ci --silent --no-audit --no-fund --ignore-scripts
cp package-lock.json node_modules/installed.json
