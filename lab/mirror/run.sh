#!/bin/sh
# The mirror's three servers. The container ends, and is restarted, when one of them ends.
cd /srv/files || exit 1
python3 -m http.server 8080 >/dev/null 2>&1 &
files=$!
python3 /srv/etc/dns.py &
names=$!
docker-registry serve /srv/etc/registry.yml &
registry=$!
trap 'kill $files $names $registry; exit 0' TERM INT
while kill -0 $files && kill -0 $names && kill -0 $registry; do sleep 2 & wait $!; done
exit 1
