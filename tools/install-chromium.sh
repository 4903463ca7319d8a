#!/bin/sh
# Unpack Debian's Chromium for the tests with a browser into the folder given, with those libraries that this machine has
# not; nothing is installed. A chromium on the PATH is enough, and then nothing is unpacked.
set -eu
folder=$1
if command -v chromium >/dev/null || [ -x "$folder/usr/lib/chromium/chromium" ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "There is no chromium, and no apt-get to have one: the test with a browser is skipped." >&2
    exit 0
fi
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
download() {
    # What an installation would bring, by name.
    missing=$(apt-get -s install --no-install-recommends chromium | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
    # shellcheck disable=SC2086  # it is a list
    [ -n "$missing" ] && (cd "$packages" && apt-get download -q -o APT::Sandbox::User=root $missing)
}
if ! download; then
    # The lists of packages are old, or there are none yet.
    apt-get update -q || true
    download || {
        echo "Chromium cannot be downloaded: the test with a browser is skipped." >&2
        exit 0
    }
fi
rm -rf "$folder.new"
for package in "$packages"/*.deb; do
    dpkg -x "$package" "$folder.new"
done
mv "$folder.new" "$folder"
