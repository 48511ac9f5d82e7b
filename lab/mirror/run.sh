#!/bin/sh
# The mirror's four servers: run.sh ADDRESS. The container ends, and is restarted, when one of them ends.
cd /srv/files || exit 1
python3 -m http.server 8080 >/dev/null 2>&1 &
files=$!
# Upstream's hosts are this one. Of all others it says at once that there are none: the lab has no outside, and waiting for it
# would look like a slow hub. (No listener at all is not enough: the kernel sends one ICMP refusal a second.)
# shellcheck disable=SC2046
dnsmasq --keep-in-foreground --user=root --pid-file --conf-file=/dev/null --no-resolv --no-hosts '--address=/#/' $(sed "s/.*/--host-record=&,$1/" /srv/etc/upstream) &
names=$!
docker-registry serve /srv/etc/registry.yml &
registry=$!
nginx -c /srv/etc/upstream.conf &
upstream=$!
trap 'kill $files $names $registry $upstream; exit 0' TERM INT
while kill -0 $files && kill -0 $names && kill -0 $registry && kill -0 $upstream; do sleep 2 & wait $!; done
exit 1
