# shellcheck shell=bash
# Small Debian trees, as tar files. The Debian mirror is whatever mmdebstrap picks for the suite on this host.

UPSTREAM_ROOTFS="node_rootfs mirror_rootfs"
ROOTFS="$UPSTREAM_ROOTFS iptables_rootfs trixie_rootfs busybox_rootfs"

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
make_mirror_rootfs() { rootfs "$NODE_SUITE" dnsmasq-base,docker-registry,nginx-light,python3; }
make_iptables_rootfs() { rootfs "$NODE_SUITE" iptables,nftables,conntrack,kmod,ipset,ca-certificates,iproute2; }
# The host for role scheduled_run, and what that installs: Debian's packages, and Python's as an index with a folder per project.
FILES[ops]="node/customize.sh node/files ../roles/scheduled_run/files/requirements.txt"
make_ops() {
  local wheel name platform=()
  mkdir "$OUT/debian"
  rootfs "$OPS_SUITE" systemd,systemd-sysv,dbus,python3,python3-apt,openssh-server,sudo,iproute2,kmod,ca-certificates \
    --customize-hook="$LAB/node/customize.sh \"\$1\" \"$OUT/debian\" 'git python3-venv'"
  signing_key; package_index "$OUT/debian" . . '' ''
  for name in manylinux2014 manylinux_2_28 manylinux_2_34; do platform+=(--platform "${name}_$(uname -m)"); done
  need_pip
  python3 -m pip download -q --no-deps --require-hashes --only-binary :all: --implementation cp --python-version "$OPS_PYTHON_VERSION" "${platform[@]}" \
    -d wheels -r "$LAB/../roles/scheduled_run/files/requirements.txt"
  for wheel in wheels/*; do
    name=$(basename "${wheel%%-*}"); name=${name,,}
    install -D -m 644 -t "$OUT/pypi/${name//[_.]/-}" "$wheel"
  done
}
# As docker.io/library/debian:trixie-slim: minbase, with passwd (useradd) and libstdc++6, which mmdebstrap's minbase may lack.
make_trixie_rootfs() { rootfs "$BASE_SUITE" passwd,libstdc++6; }
# Debian's dynamic busybox with libc6: the static one crashes in name look-ups (glibc without NSS).
make_busybox_rootfs() {
  mmdebstrap --variant=extract --include=busybox,libc6 "$NODE_SUITE" tree       # this variant runs no customize hooks
  "$LAB/node/busybox.sh" "$PWD/tree"
  tar -C tree --numeric-owner -cf "$OUT/rootfs.tar" .
}
FILES[busybox_rootfs]=node/busybox.sh
