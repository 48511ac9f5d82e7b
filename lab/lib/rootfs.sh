# shellcheck shell=bash
# Small Debian trees, as tar files. The Debian mirror is whatever mmdebstrap picks for the suite on this host.

ROOTFS="node_rootfs mirror_rootfs iptables_rootfs trixie_rootfs busybox_rootfs"

rootfs() { # SUITE PACKAGES(comma) MMDEBSTRAP-OPTION...
  local suite=$1 packages=$2; shift 2
  mmdebstrap --variant=minbase --include="$packages" --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' "$@" "$suite" "$OUT/rootfs.tar"
}

# A node is a bare Debian server: what its installer would put there, Python included. Whatever else the roles want from
# Debian they install themselves, from the mirror: those packages are downloaded here too, with all that a bare node lacks.
ROLE_PACKAGES="conntrack curl docker-registry ebtables ethtool gnupg ipset iptables python3-debian socat"
FILES[node_rootfs]="node/customize.sh node/files"
make_node_rootfs() {
  mkdir -p "$OUT/debs"
  rootfs "$NODE_SUITE" systemd,systemd-sysv,dbus,python3,python3-apt,openssh-server,sudo,iproute2,iputils-ping,netcat-openbsd,procps,kmod,ca-certificates,nftables,less \
    --customize-hook="$LAB/node/customize.sh \"\$1\" \"$OUT/debs\" '$ROLE_PACKAGES'"
}
make_mirror_rootfs() { rootfs "$NODE_SUITE" docker-registry,python3; }
make_iptables_rootfs() { rootfs "$NODE_SUITE" iptables,nftables,conntrack,kmod,ipset,ca-certificates,iproute2; }
# As docker.io/library/debian:trixie-slim: minbase, with passwd (useradd) and libstdc++6, which mmdebstrap's minbase may lack.
make_trixie_rootfs() { rootfs "$BASE_SUITE" passwd,libstdc++6; }
# Debian's dynamic busybox with libc6: the static one crashes in name look-ups (glibc without NSS).
make_busybox_rootfs() {
  mmdebstrap --variant=extract --include=busybox,libc6 "$NODE_SUITE" tree       # this variant runs no customize hooks
  "$LAB/node/busybox.sh" "$PWD/tree"
  tar -C tree --numeric-owner -cf "$OUT/rootfs.tar" .
}
FILES[busybox_rootfs]=node/busybox.sh
