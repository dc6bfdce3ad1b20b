#!/bin/sh
# Turns pages/*.txt into site/*.html.
set -eu

mkdir -p site
for page in pages/*.txt; do
    name=$(basename "$page" .txt)
    { echo "<!doctype html><title>$name</title><pre>" && cat "$page" && echo "</pre>"; } >"site/$name.html"
    echo "built site/$name.html"
done
