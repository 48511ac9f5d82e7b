#!/bin/sh
# The mirror's servers: run.sh SOURCE ADDRESS. The container ends, and is restarted, when one of them ends.
cd /srv/files || exit 1
python3 -m http.server 8080 >/dev/null 2>&1 &
servers=$!
docker-registry serve /srv/etc/registry.yml &
servers="$servers $!"
if [ "$1" = build ]; then
  # Upstream's hosts are this one. Of all others it says at once that there are none: the lab has no outside, and waiting for it
  # would look like a slow hub. (No listener at all is not enough: the kernel sends one ICMP refusal a second.)
  # shellcheck disable=SC2046
  dnsmasq --keep-in-foreground --user=root --pid-file --conf-file=/dev/null --no-resolv --no-hosts '--address=/#/' $(sed "s/.*/--host-record=&,$2/" /srv/etc/upstream) &
  servers="$servers $!"
  nginx -c /srv/etc/upstream.conf &
  servers="$servers $!"
fi
# shellcheck disable=SC2064,SC2086
trap "kill $servers; exit 0" TERM INT
while for server in $servers; do kill -0 "$server" || exit 1; done; do sleep 2 & wait $!; done
