#!/bin/sh
# Unpack Debian's Redis for the tests into the folder given; nothing is installed, and nothing is started.
# A redis-server on the PATH is enough, and then nothing is unpacked.
set -eu
folder=$1
if command -v redis-server >/dev/null || [ -x "$folder/usr/bin/redis-server" ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "There is no redis-server, and no apt-get to have one: the tests of the backend redis are skipped." >&2
    exit 0
fi
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
download() {
    (cd "$packages" && apt-get download -q -o APT::Sandbox::User=root redis-server redis-tools libjemalloc2 liblzf1)
}
if ! download; then
    # The lists of packages are old, or there are none yet.
    apt-get update -q || true
    download || {
        echo "Redis cannot be downloaded: the tests of the backend redis are skipped." >&2
        exit 0
    }
fi
rm -rf "$folder.new"
for package in "$packages"/*.deb; do
    dpkg -x "$package" "$folder.new"
done
mv "$folder.new" "$folder"
