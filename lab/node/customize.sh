#!/bin/bash
# mmdebstrap's customize hook for the node tree: ROOT DEBS-FOLDER PACKAGES
set -euo pipefail
root=$1 debs=$2 packages=$3

# the packages that roles will ask for, with whatever a bare node lacks for them (a download needs no chroot)
# shellcheck disable=SC2086
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --yes --no-install-recommends --download-only \
  -o Dir::Cache::archives="$debs" -o APT::Sandbox::User=root install $packages
rm -rf "$debs/partial" "$debs/lock"

cp -r --no-preserve=ownership "$(dirname "$(readlink -f "$0")")/files/." "$root/"
chmod 755 "$root/usr/local/sbin/lab-modules"
wants=$root/etc/systemd/system/sysinit.target.wants
mkdir -p "$wants"
ln -sf ../lab-rshared.service ../lab-modules.service "$wants/"
# a container has no consoles and no devices to settle; timers that want the internet would leave the system degraded
for unit in getty@.service console-getty.service getty.target systemd-udevd.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
: >"$root/etc/machine-id"           # each node makes its own
rm -f "$root"/etc/ssh/ssh_host_* "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/*
