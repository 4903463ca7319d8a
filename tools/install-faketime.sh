#!/bin/sh
# Unpack Debian's libfaketime for the tests into the folder given; nothing is installed. Processes of the tests that are to
# have another clock load it; it is taken from there alone, so that all machines test with the same one.
set -eu
folder=$1
for library in "$folder"/usr/lib/*/faketime/libfaketimeMT.so.1; do
    if [ -e "$library" ]; then
        exit 0
    fi
done
if ! command -v apt-get >/dev/null; then
    echo "There is no apt-get to have libfaketime: the tests that move a clock are skipped." >&2
    exit 0
fi
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
download() {
    (cd "$packages" && apt-get download -q -o APT::Sandbox::User=root libfaketime)
}
if ! download; then
    # The lists of packages are old, or there are none yet.
    apt-get update -q || true
    download || {
        echo "libfaketime cannot be downloaded: the tests that move a clock are skipped." >&2
        exit 0
    }
fi
rm -rf "$folder.new"
for package in "$packages"/*.deb; do
    dpkg -x "$package" "$folder.new"
done
mv "$folder.new" "$folder"
