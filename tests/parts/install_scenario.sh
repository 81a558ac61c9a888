# The life of an installation, each step under its heading; run by clean_root.sh.
cd /checkout
/usr/bin/python3 -m venv /root/venv && /root/venv/bin/pip install --quiet --editable . || exit 1
step() { echo "## $1"; shift; "$@" 2>&1; echo "exit code $?"; }
version() { sed -i "s/^__version__ = .*/__version__ = \"$1\"/" sightd/__init__.py; }
listed() {
    find /opt/sightd /etc/sightd /etc/systemd/system /etc/sysusers.d /var/lib/sightd /usr/local/bin -not -path '*/versions/*/*' \
        -path '*sightd*' -printf '%M %u:%g %p %l\n' 2>/dev/null | sort -k3
}
version 1.0.0
step install /root/venv/bin/sightd install
step files listed
step account getent passwd sightd
step checkout sh -c 'ls -d build *.egg-info 2>/dev/null'
step unit systemd-analyze verify --man=no /etc/systemd/system/sightd.service
step service-account setpriv --reuid=sightd --regid=sightd --clear-groups /usr/local/bin/sightd --version
step again /root/venv/bin/sightd install
step again-by-itself sightd install
version 1.1.0
step upgrade sightd install --source /checkout
step upgraded sightd --version
step versions ls /opt/sightd/versions
version 1.2.0
step no-network env PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 PIP_FIND_LINKS= sightd install --source /checkout
step still-there sightd --version
step cleared-away ls /opt/sightd/versions
step uninstall sightd uninstall
step kept listed
step uninstall-again /root/venv/bin/sightd uninstall
step purge /root/venv/bin/sightd uninstall --purge
step purge-again /root/venv/bin/sightd uninstall --purge
step left sh -c 'getent passwd sightd; getent group sightd; find /opt /etc /var/lib /var/cache /usr/local /usr/share -name "*sightd*"'
