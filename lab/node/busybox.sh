#!/bin/bash
# Makes a tree with busybox and libc6 into a small system: ROOT. Ends with a look at it, so that a broken image is not kept.
set -euo pipefail
root=${1:?}
busybox=$(cd "$root" && find bin usr/bin -name busybox -print -quit)
mkdir -p "$root"/{etc,tmp,var/tmp,root,proc,sys,usr/bin,bin}
chmod 1777 "$root/tmp" "$root/var/tmp"
while read -r applet; do
  [ -e "$root/bin/$applet" ] || [ -e "$root/usr/bin/$applet" ] || ln -s "/$busybox" "$root/bin/$applet"
done < <(chroot "$root" "/$busybox" --list)
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
rm -rf "$root"/etc/apt "$root"/etc/dpkg "$root"/etc/resolv.conf "$root"/etc/host* "$root"/var/cache/* "$root"/var/lib/* "${root:?}"/dev/*
chroot "$root" /bin/sh -c 'wget --help 2>&1 | grep -q Usage'
