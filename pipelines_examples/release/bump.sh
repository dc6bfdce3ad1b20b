# Raise the last number of VERSION, commit that and tag it.
set -eu
old=$(cat VERSION)
version=${old%.*}.$((${old##*.} + 1))
echo "$version" >VERSION
git commit -qam "Release $version"
git tag -a -m "Release $version" "v$version"
git push -q --follow-tags origin HEAD # into the run's own fork, which tools for releases like to do
echo "version=$version" >>"$STEPWELL_OUTPUT"
