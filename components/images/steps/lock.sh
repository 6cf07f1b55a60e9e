#!/bin/sh
# Writes requirements.lock of the step image anew from the repository's: what the steps import with all that it needs, and
# kfp alone. Its runtime, which a step starts through, needs none of the packages that kfp's compiler and client do.
set -eu
cd "$(dirname "$0")/../../.."
.venv/bin/python -m edgeloop_components.package.wheels lock requirements.lock \
  --roots numpy onnx onnxruntime scikit-learn skl2onnx pyarrow pandas minio cryptography httpx packaging paho-mqtt \
  uvicorn uvloop httptools ziglang \
  --alone kfp kfp-pipeline-spec \
  --out components/images/steps/requirements.lock
