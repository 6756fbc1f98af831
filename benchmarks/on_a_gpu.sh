#!/bin/sh
# Runs every benchmark that wants a GPU, in about ten minutes, and writes one file with all tables.
#
#     benchmarks/on_a_gpu.sh IMAGES [RESULTS]
#
# IMAGES holds CIFAR-10 as image files (train/CLASS/*.jpg and test/CLASS/*.jpg). RESULTS is
# benchmarks/results/gpu.md by default. A part that fails or takes too long is left out, which is said.
set -u
images=$1
results=${2:-benchmarks/results/gpu.md}
work=$(mktemp -d)
export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$PWD"

part() { # part SECONDS TITLE COMMAND...
    seconds=$1 title=$2
    shift 2
    printf '\n## %s\n\n    %s\n\n' "$title" "$*" >>"$results"
    timeout "$seconds" "$@" >>"$results" 2>"$work/errors" || {
        printf '\nIt ended with status %s: %s\n' $? "$(tail -n 1 "$work/errors")" >>"$results"
    }
}

python3 -c 'import torch; print(f"# On a GPU\n\n{torch.cuda.get_device_name()}, torch {torch.__version__}.")' >"$results"
part 150 "Training" python3 benchmarks/training_speed.py --device cuda
part 60 "Sweeps" python3 benchmarks/sweep_speed.py --device cuda
part 90 "Precision of sweeps" python3 benchmarks/precision.py --device cuda --images "$images"
part 60 "Several processes" python3 benchmarks/several_processes.py --device cuda --backend gloo --precision float64
part 60 "Ensembles" python3 benchmarks/stacked_training.py --device cuda
part 120 "Pretrained networks" python3 benchmarks/pretrained.py --device cuda --images "$images"
part 300 "Curvature of a network that has fitted all labels" \
    python3 -m benchmarks.papers.what_matters "$work/what" --images "$images" --device cuda --minutes 4
cat "$work/what/results.md" >>"$results" 2>/dev/null
rm -rf "$work"
