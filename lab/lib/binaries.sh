# shellcheck shell=bash
# Binaries from published Go modules. One recipe per project; a killed build loses little, because Go keeps its own cache.

BINARIES="kubernetes calico containerd operator coredns metallb local_path helm registry runc etcd cni"
RECIPE_HELPERS="go_build go_module go_program rootfs package"

go_build() { # OUT-NAME PACKAGE LDFLAGS; without debug information, which would be thrown away at the end (an eighth of the time)
  mkdir -p "$(dirname "$OUT/$1")"
  nice -n 5 go build -mod=mod -trimpath -gcflags=all=-dwarf=false ${TAGS:+-tags "$TAGS"} -ldflags "-s -w $3" -o "$OUT/$1" "$2"
}
# A little module of our own that requires MODULE@VERSION with MODULE's replacements (`go install` refuses modules that have
# any) and imports the programs, so that `go mod tidy` finds what they need.
go_module() { # MODULE VERSION EXTRA-LINE PACKAGE...
  local module=$1 version=$2 extra=$3 mod; shift 3
  mod=$(go mod download -json "$module@$version" | jq -er .GoMod); cp "$mod" upstream.mod
  {
    printf 'module lab/build\n\ngo 1.26.0\n\nrequire %s %s\n' "$module" "$version"
    go mod edit -json upstream.mod | jq -r '
      (.Replace[]? | select((.New.Version // "") != "")
        | "replace \(.Old.Path) \(.Old.Version // "") => \(.New.Path) \(.New.Version)"),
      (.Exclude[]? | "exclude \(.Path) \(.Version)")'
    printf '%s\n' "$extra"
  } >go.mod
  { printf '//go:build tools\n\npackage tools\n\n'; printf 'import _ "%s"\n' "$@"; } >tools.go
  go mod tidy
}
go_program() { # OUT-NAME MODULE VERSION PACKAGE LDFLAGS
  go_module "$2" "$3" '' "$4"; go_build "$1" "$4" "$5"
}

make_kubernetes() {
  local module=k8s.io/kubernetes staging=v0.${KUBERNETES_VERSION#v1.} flags='' p c mod
  mod=$(go mod download -json "$module@$KUBERNETES_VERSION" | jq -er .GoMod)
  { # the staging repositories are published under their own names
    printf 'module lab/kubernetes\n\ngo %s\n\n' "$(awk '$1 == "go" {print $2}' "$mod")"
    grep -E '^godebug' "$mod" || true
    printf '\nrequire %s %s\n\nreplace (\n' "$module" "$KUBERNETES_VERSION"
    awk -v v="$staging" '/=> \.\/staging\/src\// {print "\t" $1 " => " $1 " " v}' "$mod"
    printf ')\n'
  } >go.mod
  local programs=(kubeadm kubectl kubelet kube-proxy kube-scheduler kube-controller-manager kube-apiserver)
  { printf '//go:build tools\n\npackage tools\n\n'; printf "import _ \"$module/cmd/%s\"\n" "${programs[@]}"; } >tools.go
  go mod tidy
  for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $p.gitVersion=$KUBERNETES_VERSION -X $p.gitMajor=1 -X $p.gitMinor=$(cut -d. -f2 <<<"$KUBERNETES_VERSION")"
    flags+=" -X $p.gitTreeState=archive -X $p.gitCommit=0000000000000000000000000000000000000000 -X $p.buildDate=2026-01-01T00:00:00Z"
  done
  for c in "${programs[@]}"; do go_build "$c" "$module/cmd/$c" "$flags"; done
}
make_containerd() {
  local p=github.com/containerd/containerd/v2 c programs=(containerd containerd-shim-runc-v2 ctr)
  go_module $p "$CONTAINERD_VERSION" '' "${programs[@]/#/$p/cmd/}"
  for c in "${programs[@]}"; do
    go_build "$c" "$p/cmd/$c" "-X $p/version.Version=$CONTAINERD_VERSION -X $p/version.Package=$p"
  done
}
make_runc() {
  CGO_ENABLED=1 TAGS="seccomp netgo osusergo" go_program runc github.com/opencontainers/runc "$RUNC_VERSION" \
    github.com/opencontainers/runc "-extldflags -static -X main.version=${RUNC_VERSION#v}"
}
make_cni() {
  local p=github.com/containernetworking/plugins x plugins
  plugins=(main/{bridge,dummy,host-device,ipvlan,loopback,macvlan,ptp,vlan} ipam/{dhcp,host-local,static}
    meta/{bandwidth,firewall,portmap,sbr,tuning,vrf})
  go_module $p "$CNI_VERSION" '' "${plugins[@]/#/$p/plugins/}"
  for x in "${plugins[@]}"; do go_build "${x#*/}" "$p/plugins/$x" "-X $p/pkg/utils/buildversion.BuildVersion=$CNI_VERSION"; done
}
make_etcd() { # three modules, three builds
  local p=go.etcd.io/etcd
  go_program etcd $p/server/v3 "$ETCD_VERSION" $p/server/v3 "-X $p/api/v3/version.GitSHA=module"
  go_program etcdctl $p/etcdctl/v3 "$ETCD_VERSION" $p/etcdctl/v3 ''
  go_program etcdutl $p/etcdutl/v3 "$ETCD_VERSION" $p/etcdutl/v3 ''
}
make_coredns() {
  local p=github.com/coredns/coredns
  go_program coredns $p "$COREDNS_VERSION" $p "-X $p/coremain.GitCommit=module"
}
make_local_path() {
  local p=github.com/rancher/local-path-provisioner
  go_program local-path-provisioner $p "$LOCAL_PATH_VERSION" $p "-X main.VERSION=$LOCAL_PATH_VERSION"
}
# MetalLB imports frr-k8s, which the module proxy does not serve: stubs/ holds the types it compiles against. L2 works, BGP cannot.
FILES[metallb]=stubs
make_metallb() {
  local p=go.universe.tf/metallb c
  go_module $p "$METALLB_VERSION" "replace github.com/metallb/frr-k8s => $LAB/stubs/frr-k8s" $p/controller $p/speaker
  for c in controller speaker; do go_build $c $p/$c "-X $p/internal/version.release=$METALLB_VERSION"; done
}
make_helm() {
  local p=helm.sh/helm/v4
  go_program helm $p "$HELM_VERSION" $p/cmd/helm "-X $p/internal/version.version=$HELM_VERSION"
}
make_registry() {
  local p=github.com/distribution/distribution/v3
  go_program registry $p "$REGISTRY_VERSION" $p/cmd/registry "-X $p/version.version=$REGISTRY_VERSION"
}
# Calico: the checksum database does not know these pseudo-versions, so calico/*.go.sum carries their hashes.
FILES[calico]="calico/calico.go.mod calico/calico.go.sum"
make_calico() {
  local p=github.com/projectcalico/calico c src
  cp "$LAB/calico/calico.go.mod" go.mod; cp "$LAB/calico/calico.go.sum" go.sum
  mkdir -p stub/httpmachinery       # not served, and only the web UI imports it
  printf 'module %s/lib/httpmachinery\n\ngo 1.24\n' $p >stub/httpmachinery/go.mod
  # Built with Go 1.26 Typha panics when it marshals uniquelabels.Map (reflect2 and the [0]func() guard field): build against
  # a copy of lib/std without that field. A module of its own downloads it, so that go.sum's hash is checked first.
  mkdir std; pushd std >/dev/null
  grep "/lib/std $CALICO_STD_VERSION" "$LAB/calico/calico.go.sum" >go.sum; go mod init lab/std
  go mod edit -require "$p/lib/std@$CALICO_STD_VERSION"
  src=$(go mod download -json "$p/lib/std@$CALICO_STD_VERSION" | jq -er .Dir); popd >/dev/null
  cp -r --no-preserve=mode "$src" stub/std; sed -i '/_ \[0\]func()/d' stub/std/uniquelabels/unique_labels.go
  for c in node/cmd/calico-node typha/cmd/calico-typha cni-plugin/cmd/install cni-plugin/cmd/calico \
    kube-controllers/cmd/kube-controllers kube-controllers/cmd/check-status; do
    go_build "$(basename $c)" "$p/$c" "-X $p/pkg/buildinfo.Version=$CALICO_VERSION"
  done
}
FILES[operator]="calico/operator.go.mod calico/operator.go.sum"
make_operator() {
  cp "$LAB/calico/operator.go.mod" go.mod; cp "$LAB/calico/operator.go.sum" go.sum
  go_build operator github.com/tigera/operator/cmd "-X github.com/tigera/operator/version.VERSION=$OPERATOR_VERSION"
}
# MetalLB's CRDs from its Go types, without prose (small enough to be committed beside a role's manifest). Not part of `up`.
FILES[crds]=stubs
make_crds() {
  go_program controller-gen sigs.k8s.io/controller-tools "$CONTROLLER_TOOLS_VERSION" sigs.k8s.io/controller-tools/cmd/controller-gen ''
  mkdir metallb; cd metallb
  go_module go.universe.tf/metallb "$METALLB_VERSION" "replace github.com/metallb/frr-k8s => $LAB/stubs/frr-k8s" go.universe.tf/metallb/controller
  "$OUT/controller-gen" crd:crdVersions=v1,maxDescLen=0 'paths=go.universe.tf/metallb/api/...' output:crd:stdout |
    # one document, a List: what the role's file is
    awk '/^---$/ { if (!begun) print "---\napiVersion: v1\nkind: List\nitems:"; begun = first = 1; next } { print (first ? "- " : "  ") $0; first = 0 }' \
      >"$OUT/metallb-crds.yaml"
  grep -q '^  kind: CustomResourceDefinition' "$OUT/metallb-crds.yaml"
}
