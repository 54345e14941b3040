#!/usr/bin/env bash
# The tests, on two processes; further arguments go to pytest:  launch/test.sh -m slow   launch/test.sh tests/losses
# launch/test.sh -m tpu  also installs libtpu, to compile for TPU slices that are not here.
# launch/test.sh -m slow  also installs dlib and its weights, an independent judge.
# launch/test.sh -m peers  also installs PyTorch, transformers and datasets, whose files and outputs ours are compared with.
# launch/test.sh -m tf  also installs TensorFlow, to read a release with tfds.load.
# Tests with real faces run when FACEMAE_FACES names a folder with celeba112.zip, lfw112.zip, lfw_pairs.txt and the ONNX file.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
install requirements.txt launch/requirements-dev.txt
marks=(-m "not slow and not tf and not tpu and not peers")
for argument in "$@"; do [ "$argument" = -m ] && marks=(); done
case " $* " in
  *" -m peers "*) install launch/requirements-peers.txt ;;
  *" -m tf "*) install launch/requirements-tf.txt ;;
  *" -m tpu "*) install launch/requirements-tpu.txt ;;
  *" -m slow "*) install launch/requirements-dlib.txt ;;
esac
exec .venv/bin/python -m pytest -n 2 --dist loadfile "${marks[@]}" "$@"
