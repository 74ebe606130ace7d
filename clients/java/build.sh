#!/bin/sh
# Compiles what is here and fetches what pom.xml pins, unless nothing has changed since. Maven has no lock file: what it fetched, and what
# that needs, has to be what checksums.sha256 says, all of it and nothing else. `sh build.sh pin` writes that anew.
set -e
cd "$(dirname "$0")"
[ -z "$1" ] && [ -z "$(find pom.xml checksums.sha256 src -newer target/built 2>&1)" ] && exit 0
rm -rf target
mvn --quiet --batch-mode process-classes
cd target/lib
[ "$1" = pin ] && sha256sum -- *.jar > ../../checksums.sha256
sha256sum --quiet --strict --check ../../checksums.sha256
[ "$(ls)" = "$(sed 's/^[0-9a-f]*  //' ../../checksums.sha256)" ] || { echo "target/lib has what checksums.sha256 does not name"; exit 1; }
touch ../built
