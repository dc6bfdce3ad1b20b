# The commit that this checks is the one that bump.sh made.
set -eu
test "v$(cat VERSION)" = "$(git describe --exact-match)"
test -z "$(git status --porcelain)"
git log --format='%h %an: %s'
