#!/bin/bash
# boot_systemd.sh SCRIPT OUT: a real systemd as PID 1 in namespaces of its own, on an overlay of this machine's root that is
# thrown away; runs SCRIPT in it as root, with OUT at /out and its output in OUT/log. Needs root. Ends when SCRIPT ends.
set -euo pipefail
SCRIPT=$(realpath "$1"); OUT=$(realpath "$2"); export SCRIPT OUT
groups=/sys/fs/cgroup/unified; [ -d "$groups" ] || groups=/sys/fs/cgroup
group=$groups/sightd-test-$$; mkdir "$group"; echo $BASHPID >"$group/cgroup.procs"
# Not --net alone: the loopback device of the new network namespace has to be brought up.
unshare --kill-child -mpfnui --cgroup --propagation private bash -euc '
base=$(mktemp -d); mount -t tmpfs t "$base"; mkdir "$base"/{upper,work,root}; root=$base/root
mount -t overlay o -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$root"
mount -t proc p "$root/proc"; mount -t sysfs -o ro s "$root/sys"; mount -t cgroup2 c "$root/sys/fs/cgroup"
for folder in dev run; do mount -t tmpfs -o mode=755 t "$root/$folder"; done
# /tmp stays as it is and is not emptied at this boot: the checkout may lie there.
mkdir -p "$root/etc/tmpfiles.d"; ln -sf /dev/null "$root/etc/tmpfiles.d/tmp.conf"
# nvmap stands for the device node of a Jetson, forbidden for one that no unit asks for.
while read -r name major minor; do mknod -m 666 "$root/dev/$name" c "$major" "$minor"; done <<NODES
null 1 3
zero 1 5
random 1 8
urandom 1 9
kmsg 1 11
nvmap 10 229
forbidden 10 237
NODES
ln -s /proc/self/fd "$root/dev/fd"; mkdir "$root/dev/shm"; ip link set lo up; : >"$root/etc/fstab"
units=$root/etc/systemd/system; rm -rf "$units"; mkdir -p "$units/test.target.wants" "$root/out"; mount --bind "$OUT" "$root/out"
cp "$SCRIPT" "$root/run/script"
printf "[Unit]\nRequires=basic.target systemd-journald.service dbus.socket\nAfter=basic.target\nAllowIsolate=yes\n" >"$units/test.target"
printf "[Unit]\nAfter=basic.target dbus.socket\nSuccessAction=exit-force\nFailureAction=exit-force\n[Service]\nType=oneshot\nExecStart=/usr/bin/python3 -u /run/script\nStandardOutput=append:/out/log\nStandardError=append:/out/log\n" >"$units/test.service"
ln -s ../test.service "$units/test.target.wants/"
for unit in systemd-udevd systemd-udev-trigger systemd-timesyncd systemd-modules-load systemd-remount-fs; do ln -s /dev/null "$units/$unit.service"; done
mkdir "$root/old"; cd "$root"; pivot_root . old; umount -l /old
mount --make-rshared /  # systemd does it itself unless in a container; without it services get empty credentials
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=test.target --show-status=no' || true
echo $BASHPID >"$groups/cgroup.procs"
for _ in 1 2 3 4 5; do find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break; sleep .3; done
