#!/bin/sh
# Record PostgreSQL under pgbench for ten seconds, as root: eight clients over loopback TCP, every commit on the disk.
# The cluster is made for it in /var/tmp, which lies on a disk where /tmp may not, and is gone afterwards.
#
#     docs/pictures/postgres.sh FILE.offwake
set -eu

offwake=$(realpath "$(dirname "$0")/../../.venv/bin/offwake")
recording=$(realpath "$1")
postgres=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1)
[ "$postgres" ] || { echo "PostgreSQL is not here: apt-get install postgresql" >&2; exit 1; }
cluster=$(mktemp -d /var/tmp/offwake-postgres.XXXXXX)
export PGHOST=127.0.0.1 PGPORT=54329 PGUSER=postgres

as_postgres() {
    setpriv --reuid postgres --regid postgres --clear-groups "$@"
}

clean_up() {
    as_postgres "$postgres/pg_ctl" --pgdata "$cluster/data" --mode immediate stop >/dev/null 2>&1 || true
    rm -rf "$cluster"
}

trap clean_up EXIT
trap 'exit 1' INT TERM
chown postgres "$cluster"
cd "$cluster"
{
    as_postgres "$postgres/initdb" --pgdata data --auth trust
    as_postgres "$postgres/pg_ctl" --pgdata data --wait --log log \
        --options "-h $PGHOST -p $PGPORT -k $cluster -c synchronous_commit=on" start
    "$postgres/pgbench" --initialize --scale 10 postgres
} >setup 2>&1 || { cat setup log; exit 1; } >&2
"$postgres/pgbench" --client 8 --jobs 2 --rate 400 --time 14 --no-vacuum postgres &
sleep 2
rm -f "$recording"
"$offwake" record --user-stacks fp -o "$recording" --duration 10  # the text speaks of a stack that is cut short
wait
