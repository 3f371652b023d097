#!/usr/bin/env bash
# Writes one comment on a pull request, or changes the one that is there: it begins with a mark of its own, which names
# the service of a run; several runs have one comment together.
#
# Reads ROBUSTEST_PULL_REQUEST, _PYTHON and _RESULTS, and GITHUB_REPOSITORY; `gh` reads GH_TOKEN.
set -euo pipefail

case "$ROBUSTEST_PULL_REQUEST" in
  "" | *[!0-9]*)
    echo "::error title=robustest::Expected pull-request to be a number."
    exit 2
    ;;
esac
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

results=()
while IFS= read -r line; do
  line=${line%$'\r'}
  [ -z "$line" ] || results+=("$line")
done <<<"$ROBUSTEST_RESULTS"
status=0
"$ROBUSTEST_PYTHON" -m robustest.cli show --markdown -- "${results[@]}" >"$work/body.md" || status=$?
[ -s "$work/body.md" ] || exit "$status" # there are no results to tell
# Results are a pull request's own: what they give for a mark must be one.
mark=$(head -n 1 "$work/body.md")
if [[ ! $mark =~ ^'<!-- robustest '([A-Za-z0-9_./]+' ')?'-->'$ ]]; then
  echo "::error title=robustest::Expected results to begin with a mark."
  exit 2
fi

comments="repos/$GITHUB_REPOSITORY/issues/$ROBUSTEST_PULL_REQUEST/comments"
mine=".[] | select(.body | startswith(\"$mark\")) | select(.user.type == \"Bot\") | .id"
gh api --paginate "$comments" --jq "$mine" >"$work/ids"
id=$(head -n 1 "$work/ids")
if [ -n "$id" ]; then
  gh api --silent --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$id" --field "body=@$work/body.md"
elif [ "$status" -ne 0 ]; then
  gh api --silent --method POST "$comments" --field "body=@$work/body.md"
fi
