#!/bin/sh
# Unpack Debian's PostgreSQL and PgBouncer for the tests into the folder given; nothing is installed, and nothing is
# started. What the machine has already is enough, and is not unpacked. Libraries are those that the machine has not.
set -eu
folder=$1
has_program() {
    for place in /usr/lib/postgresql/*/bin "$folder"/usr/lib/postgresql/*/bin /usr/sbin "$folder/usr/sbin"; do
        if [ -x "$place/$1" ]; then
            return 0
        fi
    done
    command -v "$1" >/dev/null
}
wanted=
has_program postgres || wanted="postgresql-15"
has_program pgbouncer || wanted="$wanted pgbouncer"
if [ -z "$wanted" ]; then
    exit 0
fi
give_up() {
    echo "$1: the tests that need $wanted are skipped." >&2
    exit 0
}
if ! command -v apt-get >/dev/null; then
    give_up "There is no apt-get"
fi
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
# Of all that would be installed only what the programs need to run; the JIT compiler, which is large, is never used.
choose() {
    # The quotes are left out to have one argument for each package.
    apt-get -s install --no-install-recommends $wanted |
        sed -n 's/^Inst \([^ ]*\) .*/\1/p' |
        grep -E '^(postgresql-15|postgresql-client-15|pgbouncer|lib.*)$' |
        grep -vE '^libllvm|-perl$|-dev$'
}
download() {
    chosen=$(choose) && (cd "$packages" && apt-get download -q -o APT::Sandbox::User=root $chosen)
}
if ! download; then
    # The lists of packages are old, or there are none yet.
    apt-get update -q || true
    download || give_up "PostgreSQL cannot be downloaded"
fi
rm -rf "$folder.new"
for package in "$packages"/*.deb; do
    dpkg -x "$package" "$folder.new"
done
mkdir -p "$folder"
cp -a "$folder.new/." "$folder/"
rm -rf "$folder.new"
