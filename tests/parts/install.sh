#!/bin/sh
# The programs that the tests run against for real. Root: installed. Otherwise: what is missing is said, and its tests skip.
# Arguments: further packages, of single tests.
set -eu
packages="mosquitto python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav gstreamer1.0-tools glib-networking python3-venv python3-systemd mosquitto-clients systemd dbus iproute2 procps openssl g++ $*"
missing=""
for package in $packages; do
    [ "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    # shellcheck disable=SC2086  # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "some tests will be skipped; for all of them: sudo apt-get install$missing"
fi
