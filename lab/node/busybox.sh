#!/bin/bash
# mmdebstrap's customize hook for the busybox tree: ROOT
set -euo pipefail
root=$1
busybox=$(find "$root/bin" "$root/usr/bin" -name busybox -print -quit)
mkdir -p "$root"/{etc,tmp,var,root,proc,sys,dev,usr/bin,bin}
chmod 1777 "$root/tmp"
while read -r applet; do
  [ -e "$root/bin/$applet" ] || [ -e "$root/usr/bin/$applet" ] || ln -s "${busybox#"$root"}" "$root/bin/$applet"
done < <(chroot "$root" "${busybox#"$root"}" --list)
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
# mmdebstrap itself clears apt away, after this.
rm -rf "$root"/var/lib/dpkg
chroot "$root" /bin/sh -c 'wget --help' 2>/dev/null
