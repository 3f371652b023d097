#!/usr/bin/env bash
# Runs the robustness tests. A red run ends well here, as its report is still to be kept: conclude.py decides.
#
# Reads ROBUSTEST_ARGUMENTS, _HTML, _PROFILE, _PYTHON, _REPORT and _SHARD; writes `status`, pytest's exit code, and
# `report-path` to GITHUB_OUTPUT.
set -euo pipefail

case "$ROBUSTEST_REPORT" in
  "" | *$'\n'* | *$'\r'*)
    echo "::error title=robustest::Expected report to be the name of a folder."
    exit 2
    ;;
esac
mkdir -p -- "$ROBUSTEST_REPORT"
report=$(cd -- "$ROBUSTEST_REPORT" && pwd)
rm -f -- "$report/robust.json" "$report/junit.xml" # what an earlier run left must not speak for this one
echo "report-path=$report" >>"$GITHUB_OUTPUT"

# Pictures lie beside the results: whoever reads those from elsewhere takes none from any other place.
arguments=(--robust "--robust-json=$report/robust.json" "--robust-junit=$report/junit.xml")
arguments+=(-o "robust_pictures=$report/pictures")
[ "$ROBUSTEST_HTML" != true ] || arguments+=("--robust-html=$report")
[ -z "$ROBUSTEST_PROFILE" ] || arguments+=("--robust-profile=$ROBUSTEST_PROFILE")
[ -z "$ROBUSTEST_SHARD" ] || arguments+=("--robust-shard=$ROBUSTEST_SHARD")
while IFS= read -r line; do
  line=${line%$'\r'}
  [ -z "$line" ] || arguments+=("$line")
done <<<"$ROBUSTEST_ARGUMENTS"

status=0
"$ROBUSTEST_PYTHON" -m pytest "${arguments[@]}" || status=$?
echo "status=$status" >>"$GITHUB_OUTPUT"
