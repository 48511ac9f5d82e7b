# shellcheck shell=bash
# Container images with upstream's names, committed straight into the mirror's registry: <mirror>/<upstream host>/<upstream repository>.
# A stamp beside the registry's data says which content a group's tags have, and lists them; it is written last.

REGISTRY=$LAB_MIRROR:5000
STAMPS=$CACHE/mirror/registry/stamps
BIN_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
CA=/etc/ssl/certs/ca-certificates.crt

# One group per line: images_<group> makes what DEPS says it is made from.
IMAGE_GROUPS="kubernetes etcd coredns small storage load_balancer calico base registry"
DEPS[images_kubernetes]="kubernetes iptables_rootfs" DEPS[images_etcd]=etcd DEPS[images_coredns]=coredns
DEPS[images_small]=busybox_rootfs FILES[images_small]=pause.c DEPS[images_storage]=local_path DEPS[images_load_balancer]=metallb
DEPS[images_calico]="calico operator cni iptables_rootfs" FILES[images_calico]=calico/start_runit
DEPS[images_base]=trixie_rootfs DEPS[images_registry]=registry
RECIPE_HELPERS+=" image_start image_push image_program image_touch image_tree"

image_start() { c=$(buildah from --name lab-build "${1:-scratch}"); }
image_push() { # NAME CONFIG...: --timestamp makes the same content the same digest on every machine
  local name=$1; shift
  buildah config --env PATH=$BIN_PATH "$@" "$c"
  buildah commit -q --rm --timestamp 0 --tls-verify=false "$c" "docker://$REGISTRY/$name"
  printf '%s\n' "$name" >>"$PUSHED"
}
image_program() { # NAME BASE ENTRYPOINT SRC:DST...
  local name=$1 base=$2 entry=$3 x; shift 3
  image_start "$base"
  for x; do buildah copy -q --chmod 0755 "$c" "${x%%:*}" "${x#*:}"; done
  buildah copy -q --chmod 0644 "$c" $CA $CA
  image_push "$name" --entrypoint "[\"$entry\"]" --cmd '' ${USER_:+--user "$USER_"} ${WORKDIR:+--workingdir "$WORKDIR"}
}
image_touch() { local m; m=$(buildah mount "$c"); "$@" "$m"; buildah umount "$c" >/dev/null; }
# A rootfs as a local base image, so that what is built from it shares the layer in the registry and on the nodes.
image_tree() { # ARTIFACT -> prints the image's name
  local name; name=localhost/campus-hubs-lab/$1:${KEYS[$1]}
  if ! podman image exists "$name"; then
    image_start scratch; buildah add -q "$c" "$(store "$1")/rootfs.tar" / >&2
    buildah config --cmd '["/bin/sh"]' --env PATH=$BIN_PATH "$c"; buildah commit -q --rm --timestamp 0 "$c" "$name" >&2
  fi
  printf '%s\n' "$name"
}

make_images_kubernetes() {
  local x bin base; bin=$(store kubernetes) base=$(image_tree iptables_rootfs)
  for x in kube-apiserver kube-controller-manager kube-scheduler; do
    image_program "registry.k8s.io/$x:$KUBERNETES_VERSION" scratch "/usr/local/bin/$x" "$bin/$x:/usr/local/bin/$x"
  done
  image_program "registry.k8s.io/kube-proxy:$KUBERNETES_VERSION" "$base" /usr/local/bin/kube-proxy "$bin/kube-proxy:/usr/local/bin/kube-proxy"
}
make_images_etcd() {
  local bin; bin=$(store etcd)
  image_program "registry.k8s.io/etcd:${ETCD_VERSION#v}-0" scratch /usr/local/bin/etcd "$bin"/etcd:/usr/local/bin/etcd \
    "$bin"/etcdctl:/usr/local/bin/etcdctl "$bin"/etcdutl:/usr/local/bin/etcdutl
}
make_images_coredns() { WORKDIR=/ image_program "registry.k8s.io/coredns/coredns:$COREDNS_VERSION" scratch /coredns "$(store coredns)/coredns:/coredns"; }
make_images_small() {
  gcc -Os -static -s -DPAUSE_VERSION="\"$PAUSE_VERSION\"" -o pause "$LAB/pause.c"
  USER_=65535:65535 image_program "registry.k8s.io/pause:$PAUSE_VERSION" scratch /pause "$PWD/pause:/pause"
  image_start scratch; buildah add -q "$c" "$(store busybox_rootfs)/rootfs.tar" /
  image_push "docker.io/library/busybox:$BUSYBOX_VERSION" --cmd '["sh"]'
}
make_images_storage() {
  image_program "docker.io/rancher/local-path-provisioner:$LOCAL_PATH_VERSION" scratch /usr/bin/local-path-provisioner \
    "$(store local_path)/local-path-provisioner:/usr/bin/local-path-provisioner"
}
make_images_load_balancer() {
  local x; for x in controller speaker; do image_program "quay.io/metallb/$x:$METALLB_VERSION" scratch "/$x" "$(store metallb)/$x:/$x"; done
}
# The five images that Calico needs without BGP and CSI. start_runit stands in for the node image's entry point.
make_images_calico() {
  local bin cni x base; bin=$(store calico) cni=$(store cni) base=$(image_tree iptables_rootfs)
  image_start "$base"
  buildah copy -q --chmod 0755 "$c" "$bin/calico-node" /bin/calico-node; buildah copy -q --chmod 0755 "$c" "$LAB/calico/start_runit" /usr/sbin/start_runit
  node_folders() { mkdir -p "$1"/etc/calico "$1"/var/run/calico "$1"/var/lib/calico; }; image_touch node_folders
  image_push "quay.io/calico/node:$CALICO_VERSION" --cmd '["start_runit"]' --env FELIX_METADATAADDR=none --env FELIX_LOGFILEPATH=none \
    --env FELIX_LOGSEVERITYFILE=none --env FELIX_LOGSEVERITYSYS=none

  image_start                       # the installer, the plugin as calico and calico-ipam, and the reference plugins that it chains
  buildah copy -q --chmod 0755 "$c" "$bin/install" /opt/cni/bin/install
  for x in calico calico-ipam; do buildah copy -q --chmod 0755 "$c" "$bin/calico" /opt/cni/bin/$x; done
  for x in portmap bandwidth loopback host-local tuning; do buildah copy -q --chmod 0755 "$c" "$cni/$x" /opt/cni/bin/$x; done
  image_push "quay.io/calico/cni:$CALICO_VERSION" --workingdir /opt/cni/bin --env PATH=/opt/cni/bin --cmd '["/opt/cni/bin/install"]'

  image_start
  for x in kube-controllers check-status; do buildah copy -q --chmod 0755 "$c" "$bin/$x" /usr/bin/$x; done
  buildah copy -q "$c" $CA $CA
  controllers_files() {
    mkdir -p "$1"/status "$1"/profiles "$1"/tmp; chmod 1777 "$1/tmp"
    touch "$1/status/status.json" "$1/profiles/mem.pprof" "$1/profiles/cpu.pprof"; chown 999 "$1/status/status.json" "$1"/profiles/*
  }; image_touch controllers_files
  image_push "quay.io/calico/kube-controllers:$CALICO_VERSION" --user 999 --cmd '["/usr/bin/kube-controllers"]'

  image_start
  buildah copy -q --chmod 0755 "$c" "$bin/calico-typha" /usr/bin/calico-typha; buildah copy -q "$c" $CA $CA
  image_push "quay.io/calico/typha:$CALICO_VERSION" --user 999 --cmd '["/usr/bin/calico-typha"]'

  image_start
  buildah copy -q --chmod 0755 "$c" "$(store operator)/operator" /usr/bin/operator; buildah copy -q "$c" $CA $CA
  tmp_folder() { mkdir -p "$1/tmp"; chmod 1777 "$1/tmp"; }; image_touch tmp_folder
  image_push "quay.io/tigera/operator:$OPERATOR_VERSION" --user 10001:10001 --cmd '["operator"]'
}
make_images_base() {
  image_start; buildah add -q "$c" "$(store trixie_rootfs)/rootfs.tar" /
  image_push "docker.io/library/debian:$BASE_SUITE-slim" --cmd '["bash"]'
}
make_images_registry() {
  cat >config.yml <<'C'
version: 0.1
log: {fields: {service: registry}}
storage: {cache: {blobdescriptor: inmemory}, filesystem: {rootdirectory: /var/lib/registry}}
http: {addr: ":5000", headers: {X-Content-Type-Options: [nosniff]}}
health: {storagedriver: {enabled: true, interval: 10s, threshold: 3}}
C
  image_start
  buildah copy -q --chmod 0755 "$c" "$(store registry)/registry" /bin/registry; buildah copy -q --chmod 0644 "$c" config.yml /etc/distribution/config.yml
  buildah copy -q "$c" $CA $CA
  image_push docker.io/library/registry:3 --entrypoint '["/bin/registry"]' --cmd '["serve","/etc/distribution/config.yml"]' \
    --env OTEL_TRACES_EXPORTER=none --volume /var/lib/registry --port 5000
}

images_push() { # GROUP
  local PUSHED work key=${KEYS[images_$1]}
  if [ "$(head -n 1 "$STAMPS/$1" 2>/dev/null)" = "$key" ]; then echo cached >&3; return; fi
  work=$(mktemp -d "$CACHE/tmp/images.XXXXXX"); PUSHED=$work/pushed; printf '%s\n' "$key" >"$PUSHED"; cd "$work"
  buildah rm lab-build 2>/dev/null || true           # a killed run's working container (there is one at a time)
  "make_images_$1"
  mkdir -p "$STAMPS"; mv "$PUSHED" "$STAMPS/$1"; cd "$CACHE"; rm -rf "$work"
}

# What points podman and buildah on this host at the mirror (CONTAINERS_REGISTRIES_CONF), names unchanged.
write_registries_conf() {
  local host hosts=()
  [ "$SOURCE" = upstream ] || hosts=(docker.io registry.k8s.io quay.io)
  {
    printf '# written by lab/lab: what the lab'\''s mirror serves\nunqualified-search-registries = []\n'
    for host in "${hosts[@]}"; do printf '\n[[registry]]\nprefix = "%s"\nlocation = "%s/%s"\ninsecure = true\n' $host "$REGISTRY" $host; done
    printf '\n[[registry]]\nlocation = "%s"\ninsecure = true\n' "$REGISTRY"
  } >"$CACHE/tmp/registries.conf"
  mv "$CACHE/tmp/registries.conf" "$CACHE/registries.conf"
}
