#!/usr/bin/env bash
# The same as site.yml on the lab's bare nodes, by hand: raw kubeadm, kubectl and helm. No checks, no second run, no repair: the least
# that a careful admin would type. Usage: plain.sh FOLDER-OF-MANIFESTS HELM KUBECTL CACHE
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
manifests=$1 helm=$2 kubectl=$3 cache=$4
mirror=10.89.7.5 pause=registry.k8s.io/pause:3.10.2
declare -A node=([cp1]=10.89.7.11 [w1]=10.89.7.12 [w2]=10.89.7.13)
export KUBECONFIG=$manifests/kubeconfig
on() { local name=$1; shift; ssh -q -i "$cache/id_lab" -o IdentitiesOnly=yes -o UserKnownHostsFile="$cache/known_hosts" "root@${node[$name]}" "$@"; }
say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }

prepare() {
  on "$1" bash -s <<S
set -eu
exec >/dev/null
printf 'overlay\nbr_netfilter\n' >/etc/modules-load.d/kubernetes.conf; modprobe overlay; modprobe br_netfilter
printf 'net.ipv4.ip_forward = 1\nnet.bridge.bridge-nf-call-iptables = 1\nnet.bridge.bridge-nf-call-ip6tables = 1\n' >/etc/sysctl.d/99-kubernetes.conf
sysctl -q -p /etc/sysctl.d/99-kubernetes.conf
swapoff -a
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq; apt-get install -y -qq --no-install-recommends curl gnupg conntrack ebtables ethtool iptables socat
mkdir -p /etc/apt/keyrings
curl -fsS 'http://$mirror:8080/pkgs.k8s.io/core:/stable:/v1.36/deb/Release.key' -o /etc/apt/keyrings/kubernetes.asc
curl -fsS http://$mirror:8080/download.docker.com/linux/debian/gpg -o /etc/apt/keyrings/docker.asc
echo 'deb [signed-by=/etc/apt/keyrings/kubernetes.asc] http://$mirror:8080/pkgs.k8s.io/core:/stable:/v1.36/deb/ /' >/etc/apt/sources.list.d/kubernetes.list
echo 'deb [signed-by=/etc/apt/keyrings/docker.asc] http://$mirror:8080/download.docker.com/linux/debian bookworm stable' >/etc/apt/sources.list.d/docker.list
apt-get update -qq; apt-get install -y -qq --no-install-recommends containerd.io kubeadm kubelet kubectl
apt-mark hold containerd.io kubeadm kubelet kubectl
cat >/etc/containerd/config.toml <<C
version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '$pause'
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = '/etc/containerd/certs.d'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = true
C
for host in docker.io quay.io registry.k8s.io; do
  mkdir -p /etc/containerd/certs.d/\$host
  printf '[host."http://$mirror:5000/v2/%s"]\n  capabilities = ["pull", "resolve"]\n  override_path = true\n' \$host >/etc/containerd/certs.d/\$host/hosts.toml
done
mkdir -p /etc/containerd/certs.d/$mirror:5000; printf '[host."http://$mirror:5000"]\n' >/etc/containerd/certs.d/$mirror:5000/hosts.toml
systemctl restart containerd
S
}

for name in "${!node[@]}"; do prepare "$name" & done; wait
say "nodes prepared"
on cp1 'cat >/root/kubeadm.yaml; kubeadm init --config /root/kubeadm.yaml' >"$manifests/init.log" 2>&1 <<Y
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: ${node[cp1]}}
nodeRegistration: {criSocket: "unix:///run/containerd/containerd.sock", ignorePreflightErrors: [SystemVerification]}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.36.3
controlPlaneEndpoint: ${node[cp1]}:6443
networking: {podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/16}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
failCgroupV1: false
evictionHard: {memory.available: 100Mi, nodefs.available: 1Gi, nodefs.inodesFree: 5%, imagefs.available: 1Gi, imagefs.inodesFree: 5%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
Y
(umask 077; on cp1 cat /etc/kubernetes/admin.conf >"$KUBECONFIG")
say "control plane initialised"
join=$(on cp1 kubeadm token create --print-join-command)
for name in w1 w2; do on "$name" "$join --ignore-preflight-errors=SystemVerification" >"$manifests/join-$name.log" 2>&1 & done; wait
say "workers joined"

"$kubectl" apply -f "$manifests/operator.yaml" >/dev/null
until "$kubectl" get crd installations.operator.tigera.io >/dev/null 2>&1; do sleep 1; done
# kubectl ends with an error while the definition has no conditions at all.
until "$kubectl" wait --for=condition=Established crd/installations.operator.tigera.io --timeout=60s >/dev/null 2>&1; do sleep 1; done
"$kubectl" apply -f "$manifests/installation.yaml" >/dev/null
until "$kubectl" -n calico-system get daemonset calico-node >/dev/null 2>&1; do sleep 1; done
"$kubectl" -n calico-system rollout status daemonset/calico-node --timeout=300s >/dev/null
"$kubectl" -n kube-system rollout status deployment/coredns --timeout=300s >/dev/null
say "Calico works"
"$kubectl" apply -f "$manifests/local_path.yaml" >/dev/null
"$kubectl" apply -f roles/load_balancer/files/metallb_crds.yaml >/dev/null
until "$kubectl" wait --for=condition=Established crd/ipaddresspools.metallb.io crd/l2advertisements.metallb.io --timeout=60s >/dev/null 2>&1; do sleep 1; done
"$kubectl" apply -f "$manifests/metallb.yaml" >/dev/null
for what in local-path-storage:deployment/local-path-provisioner metallb-system:deployment/controller metallb-system:daemonset/speaker; do
  "$kubectl" -n "${what%%:*}" rollout status "${what#*:}" --timeout=300s >/dev/null
done
say "storage and load balancer work"
"$kubectl" apply -f "$manifests/course-images.yaml" >/dev/null
"$kubectl" -n campus-hubs rollout status daemonset/image-puller --timeout=600s >/dev/null
say "images are on the nodes"

random() { openssl rand -hex 32; }
for values in "$manifests"/values-*.yaml; do
  course=${values##*/values-}; course=${course%.yaml}; namespace=course-$course
  "$kubectl" create namespace "$namespace" >/dev/null
  "$kubectl" label namespace "$namespace" "campus.hubs/course=$course" pod-security.kubernetes.io/enforce=restricted >/dev/null
  "$kubectl" -n "$namespace" create secret generic course-secrets --from-literal="cookie-secret=$(random)" --from-literal="crypt-key=$(random)" \
    --from-literal="proxy-token=$(random)" --from-literal="exchange-token=$(random)" >/dev/null
  "$kubectl" -n "$namespace" create secret generic lti11-consumer --from-literal="consumer_key=$course" --from-literal="shared_secret=$(random)" >/dev/null
  "$kubectl" -n "$namespace" create secret generic lti13-key --from-file=private.pem=<(openssl genrsa 2048 2>/dev/null) --from-literal='jwks.json={"keys":[]}' >/dev/null
  "$helm" install "$course" charts/course-hub --namespace "$namespace" --values "$values" >/dev/null
done
for values in "$manifests"/values-*.yaml; do
  course=${values##*/values-}; namespace=course-${course%.yaml}
  for deployment in hub proxy exchange; do "$kubectl" -n "$namespace" rollout status "deployment/$deployment" --timeout=300s >/dev/null; done
  address=
  while [ -z "$address" ]; do address=$("$kubectl" -n "$namespace" get service proxy -o 'jsonpath={.status.loadBalancer.ingress[0].ip}'); done
  until curl -fsS -m 3 -o /dev/null "http://$address/hub/health"; do sleep 1; done
done
say "both hubs answer"
