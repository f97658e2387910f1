#!/usr/bin/env bash
# From nothing to a trained dynamic scene: installs, writes a demo scene, trains, evaluates, renders a video, exports
# meshes and ends with a summary. Needs no GPU. Run it again after an interruption: it continues where it was, and does
# nothing that is already done. To begin anew, delete outputs/quickstart.
set -euo pipefail

SCENE=data/demo
OUTPUT=outputs/quickstart
DEMO_FLAGS=(--layout owlii --output-dir "$SCENE" --overwrite)
TRAIN_FLAGS=(
    --max-num-iterations 2200
    --steps-per-save 400
    --optimizers.fields.optimizer.lr 2e-3
    --optimizers.fields.scheduler.lr-final 2e-4
    --optimizers.fields.scheduler.max-steps 2200
    --pipeline.datamanager.train-num-rays-per-batch 900
    --pipeline.model.num-samples 12
    --pipeline.model.num-eval-samples 32
    --pipeline.model.encoding-annealing-steps 100
    --pipeline.model.sdf-field.initial-beta 0.05
    --pipeline.model.occupancy.resolution 96
    --pipeline.model.occupancy.start-step 300
)
MESH_FRAMES=(0 10 19)
MESH_FLAGS=(--resolution 128 --units scene --largest-component)
VIDEO_FLAGS=(--num-frames 48 --outputs rgb normal_rgb)

# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
mkdir -p "$OUTPUT/.stages"
export PYTHONWARNINGS=ignore # the host and its dependencies warn a lot about each other

# stage NAME OUTPUT COMMAND...: run the command unless OUTPUT exists and was made by this very command after the very
# same stages before it.
KEY=$(sha256_of <requirements.lock)
RAN=0
stage() {
    local name=$1 output=$2 stamp="$OUTPUT/.stages/$1"
    shift 2
    KEY=$(printf '%s\n' "$KEY" "$@" | sha256_of)
    if [[ $RAN == 0 && -e $output && "$(cat "$stamp" 2>/dev/null)" == "$KEY" ]]; then
        echo "-- $name: done before"
        return
    fi
    echo "== $name"
    RAN=1
    rm -f "$stamp"
    "$@"
    if [[ ! -e $output ]]; then
        echo "scripts/quickstart.sh: $name ended without writing $output" >&2
        exit 1
    fi
    echo "$KEY" >"$stamp"
}

stage "demo scene" "$SCENE/synth.json" nf-synth "${DEMO_FLAGS[@]}"

# Other flags, another run: the name of the run's folder follows from what it is made of.
RUN="$OUTPUT/demo/resfields-tnerf/$(printf '%s\n' "$KEY" "${TRAIN_FLAGS[@]}" | sha256_of | cut -c 1-12)"
stage "training" "$RUN/evaluation/test.json" \
    ns-train resfields-tnerf --data "$SCENE" --output-dir "$OUTPUT" --experiment-name demo \
    --timestamp "$(basename "$RUN")" --resume --vis tensorboard "${TRAIN_FLAGS[@]}"
stage "ns-eval" "$OUTPUT/ns_eval.json" ns-eval --load-config "$RUN/config.yml" --output-path "$OUTPUT/ns_eval.json"
stage "video" "$OUTPUT/video.mp4" \
    nf-render both --load-config "$RUN/config.yml" --output-path "$OUTPUT/video.mp4" "${VIDEO_FLAGS[@]}"
stage "meshes" "$OUTPUT/meshes/meshes.json" \
    nf-export mesh --load-config "$RUN/config.yml" --output-dir "$OUTPUT/meshes" --frames "${MESH_FRAMES[@]}" \
    "${MESH_FLAGS[@]}"
stage "summary" "$OUTPUT/summary.json" \
    python scripts/quickstart_summary.py --load-config "$RUN/config.yml" --output-dir "$OUTPUT"

echo
cat "$OUTPUT/summary.txt"
echo "This took ${SECONDS} s."
