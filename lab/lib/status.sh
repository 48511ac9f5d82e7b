# shellcheck shell=bash
# What is up, in a few lines. Exit code 0 only when the nodes, the mirror and the API server answer.

answers() { curl -fsS -k -m 3 -o /dev/null "$1" 2>/dev/null; }
admin() { node_ssh cp1 kubectl --kubeconfig=/etc/kubernetes/admin.conf --request-timeout=5s "$@" 2>/dev/null; }
status_line() { printf '%-8s %-13s %s\n' "$@"; }
lab_status() {
  local x name state rc=0
  state=down
  if answers "http://$LAB_MIRROR:8080/" && answers "http://$LAB_MIRROR:5000/v2/"; then state="files and registry answer"; else rc=1; fi
  status_line mirror "$LAB_MIRROR" "$state"
  for x in "${LAB_NODES[@]}"; do
    name=${x%%=*} state=down
    if running "lab-$name"; then
      if node_ssh "$name" true 2>/dev/null; then state="answers by SSH"; else state="runs, but does not answer by SSH"; rc=1; fi
    else rc=1; fi
    status_line "$name" "${x##*=}" "$state"
  done
  state="does not answer"
  if answers "https://$(node_address cp1):6443/livez"; then state="answers"; else rc=1; fi
  status_line "API" "$(node_address cp1)" "$state"
  if [ "$state" = answers ]; then
    admin get nodes --no-headers | awk '{print "           " $1 ": " $2 ", " $5}' || true
    admin get services -A -l campus.hubs/course --no-headers | awk '$5 != "<none>" && $3 == "LoadBalancer" {print "course     " $1 ": http://" $5}' || true
  fi
  if answers "http://$LAB_LMS/"; then state="http://$LAB_LMS"; else state=down; fi
  status_line LMS "$LAB_LMS" "$state"
  return $rc
}
