#!/usr/bin/env bash
# What `make run` does: classifier and CycleAM on the phantom, and their evaluation. Finished steps are not repeated, an
# interrupted training goes on from its last epoch.
set -euo pipefail
python="${VENV:-.venv}/bin/python"
out="${OUT:-runs/quickstart}"
mkdir -p "$out"

train() {  # train EXPERIMENT: once, resumable, in a folder of its own
  local run="$out/$1/phantom/quickstart"
  if [ -e "$out/$1/phantom/latest" ]; then echo "== $1: trained already ($run)"; return; fi
  echo "== $1: training"
  "$python" train.py "experiment=$1" "paths.runs=$PWD/$out" "hydra.run.dir=$PWD/$run" ckpt_path=auto
}

train classifier
train cycle_am_small
echo "== evaluation"
"$python" evaluate.py experiment=classifier "paths.runs=$PWD/$out" "out_dir=$PWD/$out/classifier/evaluation"
"$python" evaluate.py experiment=cycle_am_small "paths.runs=$PWD/$out" "out_dir=$PWD/$out"
echo
echo "The report: $PWD/$out/report.html"
