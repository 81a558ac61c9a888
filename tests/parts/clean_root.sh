#!/bin/bash
# clean_root.sh SCRIPT CHECKOUT: runs SCRIPT as root on an overlay of this machine's root that is thrown away: nothing of
# sightd in it, no systemd running, CHECKOUT (copied) at /checkout. Needs root.
set -euo pipefail
SCRIPT=$(realpath "$1"); CHECKOUT=$(realpath "$2"); export SCRIPT CHECKOUT
exec unshare --kill-child -mpf --propagation private bash -euc '
base=$(mktemp -d); mount -t tmpfs t "$base"; mkdir "$base"/{upper,work,root}; root=$base/root
mount -t overlay o -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$root"
cp "$SCRIPT" "$root/script"; cp -r "$CHECKOUT" "$root/checkout"
mount -t proc p "$root/proc"; mount --rbind /dev "$root/dev"
for folder in run tmp root; do mount -t tmpfs t "$root/$folder"; done
[ ! -e /root/.config/pip ] || { mkdir "$root/root/.config"; cp -r /root/.config/pip "$root/root/.config/"; }
resolver=$(readlink -f /etc/resolv.conf); mkdir -p "$(dirname "$root$resolver")"; cat "$resolver" >"$root$resolver"
rm -rf "$root"/opt/sightd "$root"/etc/sightd "$root"/var/lib/sightd "$root"/etc/systemd/system/sightd* "$root"/etc/sysusers.d/sightd* "$root"/usr/local/bin/sightd
chroot "$root" sh -c "! getent passwd sightd >/dev/null || userdel sightd"
exec chroot "$root" env -u PYTHONPATH -u VIRTUAL_ENV HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 sh /script'
