#!/bin/sh
# Runs every benchmark that wants a GPU, in about twelve minutes, and writes all tables to one file.
#
#     benchmarks/on_a_gpu.sh IMAGES [HUMAN WEIGHTS]
#
# IMAGES holds CIFAR-10 as image files (train/CLASS/*.jpg and test/CLASS/*.jpg). HUMAN and WEIGHTS are the
# arguments --images and --weights of benchmarks/pretrained.py. The tables are in on_a_gpu.md. A part that fails
# or takes too long is left out, and the file says so.
set -u
images=$1
results=on_a_gpu.md
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

python3 -c 'import torch; print(f"# {torch.cuda.get_device_name()}, torch {torch.__version__}")' >"$results"
part 200 "Training" python3 benchmarks/training_speed.py --device cuda
for precision in bfloat16 tf32 float32; do
    part 60 "Sweeps" python3 benchmarks/sweep_speed.py --device cuda --network ResNet-18 --precision "$precision"
done
part 90 "Precision of sweeps" python3 benchmarks/precision.py --device cuda --images "$images"
part 60 "Several processes" \
    python3 benchmarks/several_processes.py --device cuda --backend gloo --precision float64
part 60 "Ensembles" python3 benchmarks/stacked_training.py --device cuda
if [ $# -ge 3 ]; then
    part 240 "Pretrained" python3 benchmarks/pretrained.py --device cuda --images "$2" --weights "$3"
fi
part 300 "Curvature of a network that overfits" \
    python3 -m benchmarks.papers.what_matters "$work/what" --images "$images" --device cuda --minutes 4
cat "$work/what/results.md" >>"$results" 2>/dev/null
rm -rf "$work"
