# shellcheck shell=bash
# Apt repositories with upstream's layouts and package names, signed by the lab's key, and get.helm.sh's files.

package() { # NAME VERSION ARCH DEPENDS FOLDER [MORE-CONTROL-LINES]: the files are below tree/NAME
  local name=$1 version=$2 arch=$3 depends=$4 folder=$5 tree=$PWD/tree/$1
  mkdir -p "$tree/DEBIAN" "$folder"
  {
    printf 'Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: campus.hubs lab <lab@localhost>\n' "$name" "$version" "$arch"
    [ -z "$depends" ] || printf 'Depends: %s\n' "$depends"
    [ -z "${6:-}" ] || printf '%s\n' "$6"
    printf 'Priority: optional\nSection: admin\nInstalled-Size: %s\nDescription: %s, built by the lab from its Go module\n' \
      "$(du -sk "$tree" | cut -f1)" "$name"
  } >"$tree/DEBIAN/control"
  dpkg-deb -Zzstd -z1 --root-owner-group -b "$tree" "$folder/${name}_${version}_$arch.deb"
}
package_service() { # NAME UNIT VERB: what upstream's maintainer scripts do
  mkdir -p "tree/$1/DEBIAN"
  # shellcheck disable=SC2016
  printf '#!/bin/sh\nset -e\nif [ "$1" = configure ] && [ -d /run/systemd/system ]; then\n  systemctl daemon-reload\n  systemctl enable %s\n%sfi\n' \
    "$2" "${3:+  systemctl $3 $2
}" >"tree/$1/DEBIAN/postinst"
  chmod 755 "tree/$1/DEBIAN/postinst"
}
package_index() { # FOLDER INDEX-FOLDER DEBS-FOLDER SUITE COMPONENTS: Packages, and Release signed: the chain that apt verifies
  local folder=$1 index=$2 debs=$3 suite=$4 f
  ( cd "$folder"
    mkdir -p "$index"; dpkg-scanpackages -m "$debs" >"$index/Packages"; gzip -9nk "$index/Packages" )
  ( cd "$folder/${suite:+dists/$suite}"
    {
      printf 'Origin: lab\nLabel: lab\nSuite: %s\nCodename: %s\nDate: %s\nArchitectures: %s all\n' "${suite:-/}" "${suite:-/}" "$(date -Ru)" "$ARCH"
      [ -z "${5:-}" ] || printf 'Components: %s\n' "$5"
      printf 'SHA256:\n'
      find . -name 'Packages*' -printf '%P\n' | sort | while read -r f; do printf ' %s %s %s\n' "$(sha256sum <"$f" | cut -d' ' -f1)" "$(stat -c %s "$f")" "$f"; done
    } >Release
    gpg --batch --yes --clearsign -o InRelease Release; gpg --batch --yes --armor -b -o Release.gpg Release )
}
signing_key() { # one key per cache, made once; whole or absent
  [ ! -d "$GNUPGHOME" ] || return 0
  local new=$CACHE/tmp/gnupg; rm -rf "$new"; mkdir -m 700 "$new"
  gpg --homedir "$new" --batch --quiet --passphrase '' --quick-gen-key 'campus.hubs lab <lab@localhost>' ed25519 sign never
  gpgconf --homedir "$new" --kill all; mv -T "$new" "$GNUPGHOME"
}

RECIPE_HELPERS+=" package_service package_index signing_key"
DEPS[packages]="kubernetes cni containerd runc helm node_rootfs" FILES[packages]=packages
make_packages() {
  local k8s docker debian=$OUT/debian version=${KUBERNETES_VERSION#v}-1.1 c tree
  k8s=$OUT/pkgs.k8s.io/core:/stable:/${KUBERNETES_VERSION%.*}/deb docker=$OUT/download.docker.com/linux/debian
  signing_key
  # --- Kubernetes' own: a flat repository
  for c in kubeadm kubelet kubectl; do install -D "$(store kubernetes)/$c" "tree/$c/usr/bin/$c"; done
  install -D -m 644 "$LAB/packages/10-kubeadm.conf" tree/kubeadm/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf
  install -D -m 644 "$LAB/packages/kubelet.service" tree/kubelet/usr/lib/systemd/system/kubelet.service
  mkdir -p tree/kubelet/etc/kubernetes/manifests; package_service kubelet kubelet.service ''
  mkdir -p tree/kubernetes-cni/opt/cni/bin; cp "$(store cni)"/* tree/kubernetes-cni/opt/cni/bin/
  install -D "$LAB/packages/crictl" tree/cri-tools/usr/bin/crictl
  package kubectl "$version" "$ARCH" '' "$k8s/$ARCH"
  package kubeadm "$version" "$ARCH" 'cri-tools (>= 1.30.0)' "$k8s/$ARCH"
  package kubelet "$version" "$ARCH" 'iptables (>= 1.4.21), kubernetes-cni (>= 1.2.0), iproute2, mount, util-linux' "$k8s/$ARCH"
  package kubernetes-cni "${CNI_VERSION#v}-1.1" "$ARCH" '' "$k8s/$ARCH"
  package cri-tools "$CRI_TOOLS_VERSION-1.1" "$ARCH" '' "$k8s/$ARCH"
  # --- Docker's: dists/<codename>/stable
  for c in containerd containerd-shim-runc-v2 ctr; do install -D "$(store containerd)/$c" "tree/containerd.io/usr/bin/$c"; done
  install -D "$(store runc)/runc" tree/containerd.io/usr/bin/runc
  install -D -m 644 "$LAB/packages/containerd.service" tree/containerd.io/usr/lib/systemd/system/containerd.service
  install -D -m 644 "$LAB/packages/containerd.toml" tree/containerd.io/etc/containerd/config.toml
  package_service containerd.io containerd.service restart
  echo /etc/containerd/config.toml >tree/containerd.io/DEBIAN/conffiles
  package containerd.io "${CONTAINERD_VERSION#v}-1~debian.$NODE_DEBIAN_VERSION~$NODE_SUITE" "$ARCH" 'libc6, libseccomp2' \
    "$docker/dists/$NODE_SUITE/pool/stable/$ARCH" $'Provides: containerd, runc\nConflicts: containerd, runc\nReplaces: containerd, runc'
  # --- Debian's own, as downloaded
  mkdir -p "$debian"; cp "$(store node_rootfs)"/debs/*.deb "$debian/"
  # --- indexes and keys
  package_index "$k8s" . . '' ''
  package_index "$docker" "dists/$NODE_SUITE/stable/binary-$ARCH" "dists/$NODE_SUITE/pool" "$NODE_SUITE" stable
  package_index "$debian" . . '' ''
  gpg --armor --export | tee "$k8s/Release.key" "$docker/gpg" >"$OUT/lab.asc"
  gpg --export >"$OUT/lab.gpg"; gpgconf --kill all
  # --- helm
  tree=helm-$HELM_VERSION-linux-$ARCH.tar.gz c=linux-$ARCH
  mkdir -p "$OUT/get.helm.sh"; install -D "$(store helm)/helm" "$c/helm"
  tar --owner=0 --group=0 --sort=name --mtime=@0 -c "$c" | gzip -9n >"$OUT/get.helm.sh/$tree"
  cd "$OUT/get.helm.sh"; sha256sum "$tree" >"$tree.sha256sum"
}
