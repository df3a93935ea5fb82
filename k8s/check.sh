#!/usr/bin/env bash
# Builds the manifests and checks them: against the schemas of Kubernetes, then against each other and the settings.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/install manifests
validate=$(tools/install --path kubernetes-validate)
kubectl=$(tools/install --path kubectl)
python=$(dirname "$validate")/python3
[ -x "$python" ] || python=python3

built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
for kustomization in k8s/base $(compgen -G 'k8s/overlays/*' || true); do
    manifests=$built/$(basename "$kustomization").yaml
    "$kubectl" kustomize "$kustomization" >"$manifests"
    verdict=$("$validate" -k 1.34 --strict "$manifests" 2>&1) || { echo "$verdict" >&2; exit 1; }
    if grep -v '^INFO ' <<<"$verdict" >&2; then
        echo "$kustomization: the lines above are not of a clean pass" >&2
        exit 1
    fi
    "$python" k8s/references.py "$manifests"
done
