#!/bin/bash
# fetch.sh DIR: puts PostgreSQL's own regression tests (src/test/regress of the source of the Debian package that is installed) into DIR,
# from the Debian mirror that this machine uses, and builds their library, where there is a compiler. Needs apt-get and the
# keyring of Debian; changes nothing of the machine's own package lists.
set -euo pipefail
DIR=$1
[ ! -f "$DIR/parallel_schedule" ] || exit 0
server=$(ls -d /usr/lib/postgresql/* | sort -V | tail -1); major=${server##*/}
version=$(dpkg-query -W -f '${Version}' "postgresql-$major")
. /etc/os-release
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
mirror=$(awk '/^URIs:/ {print $2; exit} /^deb / {for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) {print $i; exit}}' $(ls /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null))
for suite in "$VERSION_CODENAME" "$VERSION_CODENAME-updates"; do
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
done > "$work/sources.list"
apt=(-qq -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
apt-get update "${apt[@]}"
cd "$work"
# That of the package itself, or, where the mirror has another by now, of the same major version.
apt-get source --download-only "${apt[@]}" "postgresql-$major=$version" >/dev/null 2>&1 || apt-get source --download-only "${apt[@]}" "postgresql-$major" >/dev/null
mkdir source
tar xf postgresql-*.orig.tar.* -C source --strip-components=1 --wildcards '*/src/test/regress'
regress=$work/source/src/test/regress
if command -v cc >/dev/null && (apt-get download "${apt[@]}" "postgresql-server-dev-$major=$version" || apt-get download "${apt[@]}" "postgresql-server-dev-$major") >/dev/null 2>&1; then
  dpkg-deb -x postgresql-server-dev-*.deb dev
  cc -O1 -fPIC -shared -w -I"dev/usr/include/postgresql/$major/server" -o "$regress/regress.so" "$regress/regress.c" || echo "the tests' library could not be built; what needs it fails on both ways" >&2
else
  echo "the tests' library is not built (no compiler, or no headers): what needs it fails on both ways" >&2
fi
mkdir -p "$DIR"
cp -r "$regress/." "$DIR.new"
rmdir "$DIR"
mv "$DIR.new" "$DIR"
