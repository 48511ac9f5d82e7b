# shellcheck shell=bash
# The network, the mirror and the nodes: containers on one bridge. What is built here leaves it by no way.

STATE=/run/campus-hubs-lab          # what a reboot undoes by itself belongs here
PODMAN=(podman)
! command -v runc >/dev/null || PODMAN=(podman --runtime runc)     # crun refuses hybrid cgroups
LIMITS=(--ulimit nofile=10000:10000 --ulimit nproc=30000:30000)
# Host-wide, whoever sets them: kubelet (the last six), netavark (ip_forward), and us (three nodes need more inotify instances).
SYSCTLS="fs.inotify.max_user_instances fs.inotify.max_user_watches net.ipv4.ip_forward vm.overcommit_memory vm.panic_on_oom kernel.panic
  kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes"

# Sets SOURCE, and why in words: as asked; else as the nodes that are there; else upstream, if it answers.
find_source() {
  local host
  SOURCE_WHY="Packages and images are" SOURCE=${LAB_SOURCE:-}
  [ -n "$SOURCE" ] || SOURCE=$(cat "$CACHE/source" 2>/dev/null) || SOURCE=
  [ -n "$SOURCE" ] || { SOURCE=upstream; while read -r host; do curl -s -m 5 -o /dev/null "https://$host/" || { SOURCE=build; break; }; done <"$LAB/mirror/upstream"; }
  case $SOURCE in
    upstream) SOURCE_WHY+=" upstream's, from the internet." ;;
    build) SOURCE_WHY+=" built here${host:+: $host does not answer}." ;;
    *) die "LAB_SOURCE: found $SOURCE, expected upstream or build." ;;
  esac
}
# For what leaves the nodes that are there as they are.
same_source() {
  local theirs; theirs=$(cat "$CACHE/source" 2>/dev/null) || return 0
  [ "$theirs" = "$SOURCE" ] || die "LAB_SOURCE: found $SOURCE, expected $theirs, which the nodes that are there have. Fix: remove them with lab/lab destroy-nodes, and run this again"
}
note_sysctls() { # once, before the first change
  local name
  mkdir -p "$STATE"; [ ! -e "$STATE/sysctls" ] || return 0
  for name in $SYSCTLS; do printf '%s = %s\n' "$name" "$(sysctl -n "$name")"; done >"$STATE/sysctls.new"
  awk 'NR > 1 {print $1}' /proc/swaps >"$STATE/swaps"    # role node switches swap off, and a node's kernel is this machine's
  mv "$STATE/sysctls.new" "$STATE/sysctls"
}
restore_sysctls() {
  local device
  [ -e "$STATE/sysctls" ] || return 0
  sysctl -q -p "$STATE/sysctls"
  while read -r device; do grep -q "^$device " /proc/swaps || swapon "$device"; done <"$STATE/swaps"
  rm -rf "$STATE"
}

network_up() {
  local bridge
  note_sysctls
  [ "$(sysctl -n fs.inotify.max_user_instances)" -ge 1024 ] || sysctl -q -w fs.inotify.max_user_instances=1024
  # no DNS of podman's, which would forward names to the outside: nodes ask the mirror, or where upstream's packages come from who this machine asks
  podman network exists "$LAB_NETWORK" || podman network create --disable-dns --subnet "$LAB_SUBNET" --gateway "$LAB_GATEWAY" "$LAB_NETWORK"
  [ "$SOURCE" = build ] || { routes_down; return 0; }
  bridge=$(podman network inspect "$LAB_NETWORK" | jq -er '.[0].network_interface')
  # What comes in from the bridge may go back to it and nowhere else. Without this, packets for the service network leave by the host's
  # default route until kube-proxy's rules exist. (The nodes' own default route stays: a connection to a ClusterIP needs one before NAT.)
  [[ $(ip rule show) == *"iif $bridge "*"lookup $LAB_ROUTE_TABLE"* ]] || ip rule add iif "$bridge" lookup "$LAB_ROUTE_TABLE" priority 100
  ip route replace unreachable default table "$LAB_ROUTE_TABLE"
  # the bridge appears with the first container
  ! ip link show "$bridge" >/dev/null 2>&1 || ip route replace "$LAB_SUBNET" dev "$bridge" table "$LAB_ROUTE_TABLE"
}
routes_down() {
  while ip rule del lookup "$LAB_ROUTE_TABLE" 2>/dev/null; do :; done
  ip route flush table "$LAB_ROUTE_TABLE" 2>/dev/null || true
}
network_down() {
  routes_down
  ! podman network exists "$LAB_NETWORK" || podman network rm "$LAB_NETWORK"
}

SYSTEM=('CMD ["/sbin/init"]' 'ENV container=podman' 'STOPSIGNAL SIGRTMIN+3')
# import_image ARTIFACT CHANGE...: prints the local image's name
import_image() {
  local name=localhost/campus-hubs-lab/$1:${KEYS[$1]} tar changes=() x
  tar=$(store "$1")/rootfs.tar; shift
  for x; do changes+=(--change "$x"); done
  podman image exists "$name" || podman import -q "${changes[@]}" "$tar" "$name" >&2
  printf '%s\n' "$name"
}
# What podman remembers is not enough: who kills the process that watches a container leaves it "running" there.
running() {
  local state runtime id
  read -r state runtime id < <(podman container inspect --format '{{.State.Running}} {{.OCIRuntime}} {{.Id}}' "$1" 2>/dev/null) || return 1
  [ "$state" = true ] && [ "$("$runtime" state "$id" 2>/dev/null | jq -r .status)" = running ]
}
wait_for() { # SECONDS WHAT COMMAND...
  local seconds=$1 what=$2 end; shift 2; end=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do [ "$SECONDS" -lt "$end" ] || { say "gave up after $seconds s: $what"; return 1; }; sleep 0.3; done
}

# Of upstream's names, by an authority that only the lab's nodes trust, and whose key is thrown away.
mirror_certificates() {
  local names new=$CACHE/tmp/tls made=(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650)
  names=$(sed 's/^/DNS:/' "$LAB/mirror/upstream" | paste -sd,)
  [ "$(cat "$CACHE/mirror/tls/names" 2>/dev/null)" != "$names" ] || return 0
  rm -rf "$new"; mkdir -m 700 "$new"
  openssl "${made[@]}" -subj '/CN=campus.hubs lab' -keyout "$new/ca.key" -out "$new/ca.crt"
  openssl "${made[@]}" -CA "$new/ca.crt" -CAkey "$new/ca.key" -subj '/CN=upstream' -addext "subjectAltName=$names" \
    -addext basicConstraints=critical,CA:FALSE -keyout "$new/tls.key" -out "$new/tls.crt"
  rm -rf "$new/ca.key" "$CACHE/mirror/tls"; printf '%s\n' "$names" >"$new/names"; mv -T "$new" "$CACHE/mirror/tls"
}
mirror_up() {
  local image x made files=$CACHE/mirror/files answers=()
  mirror_certificates
  image=$(import_image mirror_rootfs) made="$image $CACHE $SOURCE $(cat "$LAB"/mirror/* "$CACHE/mirror/tls/tls.crt" | sha256sum | cut -c1-12)"
  mkdir -p "$files" "$CACHE/mirror/registry"
  # what is served is links into the store, renamed into place: an apt client never sees half a repository
  ln -sfn "../store/packages-${KEYS[packages]}" "$CACHE/tmp/current"; mv -T "$CACHE/tmp/current" "$files/current"
  for x in pkgs.k8s.io download.docker.com get.helm.sh debian lab.asc; do [ -L "$files/$x" ] || ln -s "current/$x" "$files/$x"; done
  network_up
  if ! running lab-mirror || [ "$(podman container inspect lab-mirror | jq -r '.[0].Config.Labels["campus.hubs.lab/made-from"]')" != "$made" ]; then
    rm -rf "$CACHE/mirror/etc"; cp -r "$LAB/mirror" "$CACHE/mirror/etc"
    "${PODMAN[@]}" run -d --replace --name lab-mirror --hostname mirror --network "$LAB_NETWORK" --ip "$LAB_MIRROR" --restart on-failure --stop-timeout 3 --label "campus.hubs.lab/made-from=$made" \
      "${LIMITS[@]}" -v "$CACHE/mirror:/srv" -v "$CACHE/store:/srv/store:ro" "$image" sh /srv/etc/run.sh "$SOURCE" "$LAB_MIRROR"
    network_up
  fi
  wait_for 30 "the mirror's registry" curl -fsS "http://$LAB_MIRROR:5000/v2/"
  wait_for 30 "the mirror's files" curl -fsS "http://$LAB_MIRROR:8080/"
  [ "$SOURCE" = upstream ] || answers=(registry.k8s.io/v2/ get.helm.sh/)
  for x in "${answers[@]}"; do
    wait_for 30 "upstream's $x" curl -sS --cacert "$CACHE/mirror/tls/ca.crt" --resolve "${x%%/*}:443:$LAB_MIRROR" "https://$x"
  done
  write_registries_conf
}

node_create() { # NAME ADDRESS IMAGE INIT-ARGUMENT...
  local name=$1 address=$2 image=$3 hosts=() dns=() x; shift 3
  [ "$SOURCE" = upstream ] || dns=(--dns "$LAB_MIRROR")
  # what a killed run left of it, and the disk of a container that is gone: a new node is bare
  podman rm -f -v --ignore "lab-$name" 2>/dev/null || true; podman volume rm -f "lab-$name-var" >/dev/null
  for x in "${LAB_NODES[@]}"; do hosts+=(--add-host "${x%%=*}:${x##*=}"); done       # podman rewrites /etc/hosts at each start
  # Own cgroup namespace, and systemd not by podman's mode: that would bind the host's hierarchy into every node.
  "${PODMAN[@]}" create --replace --name "lab-$name" --hostname "$name" --network "$LAB_NETWORK" --ip "$address" "${dns[@]}" --dns-search . "${hosts[@]}" \
    --privileged --cgroupns=private --systemd=false -e container=podman --stop-signal SIGRTMIN+3 --stop-timeout 20 \
    --tmpfs /run:rw,exec,mode=755 --tmpfs /run/lock:rw,mode=1777 --tmpfs /tmp:rw,exec,mode=1777 "${LIMITS[@]}" --pids-limit=-1 \
    --memory "$LAB_NODE_MEMORY" -v "lab-$name-var:/var" "$image" /sbin/init "$@"
}
node_up() { # NAME ADDRESS IMAGE INIT-ARGUMENT...
  local name=$1
  podman container exists "lab-$name" || node_create "$@"
  # a killed `stop` leaves a container "Stopping" for podman, which only another stop ends
  running "lab-$name" || "${PODMAN[@]}" start "lab-$name" || { podman stop -t 5 "lab-$name"; "${PODMAN[@]}" start "lab-$name"; } || true
  # and one that was killed together with its watcher stays so for ever
  wait_for 20 "$name as it was" running "lab-$name" || { node_destroy "$name"; node_create "$@"; "${PODMAN[@]}" start "lab-$name"; }
}
node_settled() { case $(podman exec "lab-$1" systemctl is-system-running 2>/dev/null) in running | degraded) true ;; *) false ;; esac; }
node_ready() { # NAME ADDRESS SUITE APT-REPOSITORY: it lets in who has the lab's key, and installs from Debian or the mirror
  local name=$1 address=$2 suite=$3 debian=http://deb.debian.org
  wait_for 60 "$name boots" node_settled "$name"
  podman exec "lab-$name" systemctl --failed --no-legend
  podman exec -i "lab-$name" sh -c 'umask 077; mkdir -p /root/.ssh; cat >/root/.ssh/authorized_keys' <"$CACHE/id_lab.pub"
  if [ "$SOURCE" = upstream ]; then
    printf 'deb %s main\n' "$debian/debian $suite" "$debian/debian $suite-updates" "$debian/debian-security $suite-security" |
      podman exec -i "lab-$name" sh -c 'cat >/etc/apt/sources.list'
  else
    # Debian's packages come from the mirror, signed by the lab's key
    podman exec -i "lab-$name" sh -c 'cat >/usr/share/keyrings/lab.gpg' <"$(store packages)/lab.gpg"
    podman exec -i "lab-$name" sh -c 'cat >/etc/apt/sources.list' <<<"deb [signed-by=/usr/share/keyrings/lab.gpg] http://$LAB_MIRROR:8080/$4/ /"
    # as servers on the internet trust whoever vouches for upstream
    podman exec -i "lab-$name" sh -c 'cat >/usr/local/share/ca-certificates/lab.crt; update-ca-certificates' <"$CACHE/mirror/tls/ca.crt"
  fi
  wait_for 30 "$name makes its host key" podman exec "lab-$name" test -s /etc/ssh/ssh_host_ed25519_key.pub
  touch "$CACHE/known_hosts"
  { awk -v address="$address" '$1 != address' "$CACHE/known_hosts"
    printf '%s %s\n' "$address" "$(podman exec "lab-$name" cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub)"; } >"$CACHE/tmp/known_hosts"
  mv "$CACHE/tmp/known_hosts" "$CACHE/known_hosts"
  wait_for 30 "$name answers by SSH" node_ssh "$name" true
}
nodes_up() {
  local x image made=0 t0=$SECONDS
  running lab-mirror || { say "the mirror is not up: run lab/lab up"; return 1; }
  echo "$SOURCE" >"$CACHE/source"
  [ -s "$CACHE/id_lab" ] || { rm -f "$CACHE"/tmp/id_lab*; ssh-keygen -q -t ed25519 -N '' -C campus.hubs-lab -f "$CACHE/tmp/id_lab"
    mv "$CACHE/tmp/id_lab.pub" "$CACHE/id_lab.pub"; mv "$CACHE/tmp/id_lab" "$CACHE/id_lab"; }
  image=$(import_image node_rootfs "${SYSTEM[@]}")
  network_up
  for x in "${LAB_NODES[@]}"; do running "lab-${x%%=*}" || made=$((made + 1)); node_up "${x%%=*}" "${x##*=}" "$image"; done
  network_up                        # the bridge exists now
  for x in "${LAB_NODES[@]}"; do node_ready "${x%%=*}" "${x##*=}" "$NODE_SUITE" debian; done
  if [ "$made" -eq 0 ]; then echo "all up" >&3; else echo "$made of ${#LAB_NODES[@]} started, $((SECONDS - t0)) s" >&3; fi
}
ops_up() {
  local name=${LAB_OPS%%=*} address=${LAB_OPS##*=} image legacy=()
  running lab-mirror && [ -s "$CACHE/id_lab" ] || { say "the lab is not up: run lab/lab up"; return 1; }
  ln -sfn "../store/ops-${KEYS[ops]}" "$CACHE/tmp/ops"; mv -T "$CACHE/tmp/ops" "$CACHE/mirror/files/ops"
  # systemd 257 wants to be asked for cgroup v1, on the kernel's command line: in a container that is its own
  [ -e /sys/fs/cgroup/cgroup.controllers ] || legacy=(systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1)
  image=$(import_image ops "${SYSTEM[@]}")
  node_up "$name" "$address" "$image" "${legacy[@]}"
  node_ready "$name" "$address" "$OPS_SUITE" ops/debian
  podman exec -i "lab-$name" sh -c 'cat >/etc/pip.conf' <<<$'[global]\ntrusted-host = '"$LAB_MIRROR"
}
node_address() { local x; for x in "${LAB_NODES[@]}" "$LAB_OPS"; do [ "${x%%=*}" != "$1" ] || { echo "${x##*=}"; return; }; done; die "no node '$1' (there are: ${LAB_NODES[*]%%=*}, and ${LAB_OPS%%=*} when it was made)"; }
node_ssh() { # NAME COMMAND...: host keys are checked against what the nodes themselves said
  local address; address=$(node_address "$1"); shift
  ssh -i "$CACHE/id_lab" -o IdentitiesOnly=yes -o UserKnownHostsFile="$CACHE/known_hosts" -o ConnectTimeout=5 -o LogLevel=ERROR "root@$address" "$@"
}
nodes_stop() {
  local x pids=()
  for x in "${LAB_NODES[@]}" "$LAB_OPS"; do ! podman container exists "lab-${x%%=*}" || { podman stop "lab-${x%%=*}" & pids+=($!); }; done
  for x in "${pids[@]}"; do wait "$x"; done
}
node_destroy() { # NAME
  # On a busy machine the processes of a cluster need longer to die than podman waits.
  wait_for 90 "$1 is gone" podman rm -f -t 3 -v --ignore "lab-$1"
  podman volume rm -f "lab-$1-var"
}
nodes_destroy() {
  local x
  for x in "${LAB_NODES[@]}" "$LAB_OPS"; do node_destroy "${x%%=*}"; done
  rm -f "$CACHE/source" "$CACHE/known_hosts" "$HOME/.kube/campus-hubs/lab"       # they speak of a cluster that is gone
}
lab_down() {
  local ids
  command -v podman >/dev/null || return 0     # never was up
  nodes_destroy
  ids=$(podman ps -aq --filter "network=$LAB_NETWORK" 2>/dev/null) || ids=''       # the mirror, the demo LMS, whatever else is on the network
  # shellcheck disable=SC2086
  [ -z "$ids" ] || podman rm -f -t 3 $ids
  network_down; restore_sysctls
  ids=$(podman images -q --filter 'reference=localhost/campus-hubs-lab/*' | sort -u)
  # shellcheck disable=SC2086
  [ -z "$ids" ] || podman rmi -f $ids
}
