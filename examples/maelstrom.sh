#!/bin/sh
# One node of a Maelstrom test:
#
#     maelstrom test -w g-counter --bin examples/maelstrom.sh --nemesis partition
#
# Maelstrom takes the path of one program, and starts it once for each node. All of them have the
# same parent, and so has a node that is started again: its number names the run. Counts thus
# outlive a killed node, and the next run does not begin with them.
#
# MAELSTROM_DATA   another directory; a new one for each run
#
# Arguments go to `counter maelstrom`: --strict, --deadline TIME.
set -eu

here=$(dirname "$0")
counter=$here/../.venv/bin/counter
[ -x "$counter" ] || counter=counter
exec "$counter" maelstrom --data "${MAELSTROM_DATA:-${TMPDIR:-/tmp}/counter-maelstrom-$PPID}" "$@"
