# shellcheck shell=bash
# Steps, messages, and the store: everything slow is an artifact, made once per content and found again by it.

say() { printf '%s\n' "$*"; }
die() { printf 'lab: %s\n' "$*" >&2; exit 1; }

STEP=0 STEPS=0
# step NAME COMMAND...: one line on the terminal, the rest in a log whose tail is shown on failure. A command may write its own
# last word ("cached", "3 nodes") to fd 3 instead of the time it took.
step() {
  local name=$1 log rc t0=$SECONDS; shift
  STEP=$((STEP + 1)); log=$CACHE/logs/${name// /-}.log
  printf '[%d/%d] %s ... ' "$STEP" "$STEPS" "$name"
  set +e                            # not `if ( ... )`: that would switch errexit off inside as well
  ( set -e; : >"$CACHE/tmp/jobs/$BASHPID"; "$@" ) >"$log" 2>&1 </dev/null 3>"$log.word" 9>&-; rc=$?      # 9: the lock, which no container may inherit
  set -e
  if [ "$rc" -ne 0 ]; then say "failed after $((SECONDS - t0)) s"; show_failure "$log"; exit "$rc"; fi
  if [ -s "$log.word" ]; then cat "$log.word"; else say "$((SECONDS - t0)) s"; fi
}
show_failure() { printf '    %s\n' "the end of $1:" >&2; tail -n 25 "$1" | sed 's/^/    | /' >&2; }

# --- the store: $CACHE/store/<name>-<key>, made under a temporary name and renamed when complete, so it is whole or absent.
declare -A DEPS=() FILES=()         # per artifact: artifacts and files (below lab/) that it is made from
declare -A KEYS=()

# The key covers the recipe's code (declare -f: comments do not count), the pins it names, its files and its dependencies.
artifact_key() {
  local name=$1 body helper var dep file
  [ -n "${KEYS[$name]:-}" ] && return
  body=$(declare -f "make_$name")
  for helper in $RECIPE_HELPERS; do [[ $body != *"$helper"* ]] || body+=$(declare -f "$helper"); done
  for dep in ${DEPS[$name]:-}; do artifact_key "$dep"; done
  KEYS[$name]=$({
    printf '%s\n' "$ARCH" "$body"
    grep -oE '\b[A-Z_]+_(VERSION|SUITE|PACKAGES)\b' <<<"$body" | sort -u | while read -r var; do printf '%s=%s\n' "$var" "${!var:-}"; done
    for dep in ${DEPS[$name]:-}; do printf '%s\n' "${KEYS[$dep]}"; done
    for file in ${FILES[$name]:-}; do (cd "$LAB" && find "$file" -type f -print0 | sort -z | xargs -0 sha256sum); done
  } | sha256sum | cut -c1-12)
}
store() { artifact_key "$1"; printf '%s/store/%s-%s\n' "$CACHE" "$1" "${KEYS[$1]}"; }

# make_artifact NAME: runs make_NAME in an empty scratch folder with OUT set.
make_artifact() {
  local final OUT work; final=$(store "$1")
  [ ! -d "$final" ] || return 0
  work=$(mktemp -d "$CACHE/tmp/$1.XXXXXX")
  OUT=$work/out; mkdir -p "$OUT" "$work/src"; cd "$work/src"
  "make_$1"
  cd "$CACHE"; mv -T "$OUT" "$final"; rm -rf "$work"
}

# build NAME...: what is missing, two at a time (linking is one thread long; more lanes would only cost memory). Every half minute
# it says what is at work.
build() {
  local name lanes=2 pid rc running=0 todo=() ticker
  declare -A started=() names=()
  [ "$(awk '/MemTotal/ {print int($2 / 1048576)}' /proc/meminfo)" -ge 11 ] || lanes=1
  for name; do
    if [ -d "$(store "$name")" ]; then STEP=$((STEP + 1)); say "[$STEP/$STEPS] $name ... cached"; else todo+=("$name"); fi
  done
  [ "${#todo[@]}" -gt 0 ] || return 0
  set -m                            # own process groups, so that stop_jobs ends a job with all its children
  tick
  for name in "${todo[@]}" ''; do
    while [ "$running" -ge "$lanes" ] || { [ -z "$name" ] && [ "$running" -gt 0 ]; }; do
      rc=0; wait -n -p pid || rc=$?
      if [ "$pid" = "$ticker" ]; then
        unset "JOBS[$pid]"
        for pid in "${!names[@]}"; do [ -z "${JOBS[$pid]:-}" ] || at_work "${names[$pid]}" $((SECONDS - started[$pid])); done
        tick; continue
      fi
      running=$((running - 1)); STEP=$((STEP + 1))
      printf '[%d/%d] %s ... ' "$STEP" "$STEPS" "${names[$pid]}"
      if [ "$rc" -ne 0 ]; then say failed; show_failure "$CACHE/logs/${names[$pid]}.log"; exit "$rc"; fi
      say "$((SECONDS - started[$pid])) s"; unset "JOBS[$pid]"
    done
    [ -n "$name" ] || break
    ( set -e; : >"$CACHE/tmp/jobs/$BASHPID"; make_artifact "$name" ) >"$CACHE/logs/$name.log" 2>&1 </dev/null 9>&- &
    names[$!]=$name started[$!]=$SECONDS JOBS[$!]=1 running=$((running + 1))
  done
  { kill "$ticker"; wait "$ticker"; } 2>/dev/null || true; unset "JOBS[$ticker]"
  set +m
}
tick() { sleep 30 >/dev/null 2>&1 9>&- & ticker=$! JOBS[$!]=1; }
# What takes minutes, in seconds as measured on two cores beside the unit tests.
declare -A USUAL=([kubernetes]=1200 [calico]=600 [operator]=500 [coredns]=400 [helm]=300 [containerd]=250)
at_work() { # NAME SECONDS
  local made; made=$(find "$CACHE/tmp" -path "$CACHE/tmp/$1.*/out/*" -prune -printf '%f ' 2>/dev/null)
  say "        $1 is at work for $2 s${USUAL[$1]:+ of about ${USUAL[$1]} s}${made:+; made: ${made% }}"
}
declare -A JOBS=()
stop_jobs() { local pid; for pid in "${!JOBS[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done; }
# Of a run that was killed: its jobs that are still at work, and its scratch folders. (The lock is ours: no other run is alive.)
# A build job is a process group; a step is a shell with its command. Containers that a step started are no children of it.
end_leftovers() {
  local file pid left try
  for try in {1..60}; do
    left=
    for file in "$CACHE"/tmp/jobs/*; do
      pid=${file##*/}
      [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = lab ] || continue
      left=1; kill -TERM -- "-$pid" 2>/dev/null || kill -TERM "$pid" $(pgrep -P "$pid") 2>/dev/null || true
    done
    [ -n "$left" ] || break
    sleep 0.5
  done
  find "$CACHE/tmp" -mindepth 1 -delete; mkdir "$CACHE/tmp/jobs"
}
