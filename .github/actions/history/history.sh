#!/usr/bin/env bash
# Adds a run to the history on a branch, and pushes it; where another run was faster, its history is fetched first.
#
# Reads ROBUSTEST_BRANCH, _PYTHON, _RESULTS and _TOKEN, GITHUB_REPOSITORY and GITHUB_SERVER_URL. What the branch holds is
# data: links in it are files, no hook runs, and a branch with anything but a history is left alone.
set -euo pipefail

told() { echo "::warning title=robustest::The history was not kept: $1"; }

if ! git check-ref-format "refs/heads/$ROBUSTEST_BRANCH" || [[ $ROBUSTEST_BRANCH != [A-Za-z0-9_]* ]]; then
  echo "::error title=robustest::Expected branch to be the name of a branch."
  exit 2
fi
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
# The token goes through the environment: arguments of a process are seen by all others.
header="AUTHORIZATION: basic $(printf 'x-access-token:%s' "$ROBUSTEST_TOKEN" | base64 | tr -d '\n')"
export GIT_CONFIG_COUNT=4 GIT_TERMINAL_PROMPT=0
export GIT_CONFIG_KEY_0="http.$GITHUB_SERVER_URL/.extraheader" GIT_CONFIG_VALUE_0="$header"
export GIT_CONFIG_KEY_1=core.symlinks GIT_CONFIG_VALUE_1=false
export GIT_CONFIG_KEY_2=core.hooksPath GIT_CONFIG_VALUE_2=/dev/null
export GIT_CONFIG_KEY_3=core.autocrlf GIT_CONFIG_VALUE_3=false
export GIT_AUTHOR_NAME='github-actions[bot]' GIT_COMMITTER_NAME='github-actions[bot]'
export GIT_AUTHOR_EMAIL=41898282+github-actions[bot]@users.noreply.github.com
export GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
results=$(realpath -- "$ROBUSTEST_RESULTS")
cd -- "$work"

for attempt in 1 2 3; do
  rm -rf -- kept
  git init --quiet kept
  git -C kept remote add origin "$GITHUB_SERVER_URL/$GITHUB_REPOSITORY"
  status=0
  git -C kept ls-remote --exit-code origin "refs/heads/$ROBUSTEST_BRANCH" >listed || status=$?
  if [ "$status" -eq 0 ]; then
    git -C kept fetch --quiet --depth=1 origin "refs/heads/$ROBUSTEST_BRANCH"
    if [ "$(git -C kept ls-tree --name-only FETCH_HEAD)" != history ]; then
      told "the branch holds something else."
      exit 0
    fi
    git -C kept checkout --quiet --detach FETCH_HEAD
  elif [ "$status" -ne 2 ]; then
    told "the repository could not be read."
    exit 0
  fi
  if ! (cd "$work" && "$ROBUSTEST_PYTHON" -m robustest.cli history add --history kept/history "$results"); then
    told "the run could not be added."
    exit 0
  fi
  git -C kept add -- history
  git -C kept diff --cached --quiet && exit 0 # it is there already
  git -C kept commit --quiet --message "Add a run"
  if git -C kept push --quiet origin "HEAD:refs/heads/$ROBUSTEST_BRANCH"; then
    exit 0
  fi
  sleep "$((attempt * ${ROBUSTEST_WAIT:-5}))"
done
told "others wrote at the same time."
