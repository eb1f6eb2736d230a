#!/bin/sh
# From the data folder to the model's folder with its CARD.md:
#   models/train/run.sh DATA OUT [further options of fit.py, e.g. --licence permissive]
# PYTHON is the interpreter of an environment with requirements.txt; WORK keeps caches and checkpoints;
# STAMPS is Tux Paint's firetruck.png (see models/README.md).
set -eu
data=$1 out=$2
shift 2
models=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
export PYTHONPATH="$models/convert:$models/train" OMP_WAIT_POLICY=passive
: "${PYTHON:=python3}" "${WORK:=$out.work}"
licence=all
for option; do
    [ "$option" = permissive ] && licence=permissive
done
"$PYTHON" "$models/train/fit.py" --data "$data" --work "$WORK" "$@"
"$PYTHON" "$models/train/convert.py" --data "$data" --work "$WORK" --golden "$STAMPS" --output "$out" --licence $licence
export PYTHON WORK
exec "$models/evaluate" "$data" "$out" --licence $licence
