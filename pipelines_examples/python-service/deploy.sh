#!/bin/sh
# Pretends to deploy: packs the source, signs the pack with the deploy key, and leaves both in release/.
set -eu

version=$1
pack="release/links-$version.tar"

echo "packing $pack"
mkdir -p release
tar -cf "$pack" src
echo "signing with a key of ${#DEPLOY_KEY} characters"
{ printf '%s' "$DEPLOY_KEY" && cat "$pack"; } | sha256sum | cut -d ' ' -f 1 >"$pack.signature"
echo "links $version is live"
