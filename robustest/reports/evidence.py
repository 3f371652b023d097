"""Evidence of a run for others: an in-toto statement, and the documents of other formats that are made from it."""

# One statement holds everything, and every other file is a function of it (`documents`). So no reader has to compare
# numbers between files: `robustest evidence verify` makes the others again and looks for numbers of the statement that
# contradict each other (`contradictions`); `robustest evidence replay` measures anew as well.
#
# Formats: in-toto Statement v1 and its test-result predicate v0.1; CycloneDX 1.7 with a machine-learning model as its
# component; SARIF 2.1.0 (OASIS); the Hugging Face Hub's `.eval_results/*.yaml`. Nothing is signed here: that is the
# platform's part.

from __future__ import annotations

import hmac
import html
import json
import math
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from robustest.account import RED, STATES, Account, Row
from robustest.history import Origin
from robustest.reports.github import escaped
from robustest.reports.inert import visible
from robustest.reports.text import measured
from robustest.results import Verdict, numbers_apart
from robustest.version import HOME, VERSION

STATEMENT = "statement.json"
"""The file that all others are made from."""
SCORES = "eval-results.yaml"
"""The file of scores for the Hub; it is made only if a claim names a benchmark."""
ROBUSTNESS = "urn:uuid:5d0c8f5e-7b39-4d0a-9a43-3a4c4f5b1d60"
"""Type of the statement's predicate, version 1: a name that stays when the project's address changes."""
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"

_SETTINGS = (
    *("profile", "seed", "attack", "certify", "scope", "alpha", "family_size", "precision", "exact"),
    *("max_samples", "time_budget", "inconclusive", "attempts", "suppress", "replay_only", "update_baseline"),
)
_OF_ROW = ("test", "line", "state", "problem")
_OF_RESULT = (
    *("kind", "claim", "statement", "verdict", "quantity", "estimate", "interval", "limits", "comparison"),
    *("threshold", "n", "n_total", "counts", "rule", "alpha", "at_alpha", "scope", "bounds", "method", "varied"),
    *("setting", "seed", "model", "caveats", "reasons", "axis", "at", "threshold_name"),
)
# States that a verdict can have; a claim without one was not measured.
_STATES_OF: dict[Verdict | None, set[str]] = {
    Verdict.PASSED: {"passed", "xpassed", "measured"},
    Verdict.FAILED: {"failed", "tolerated", "xfailed", "skipped", "rerun", "measured"},
    Verdict.INCONCLUSIVE: {"inconclusive", "tolerated", "xfailed", "skipped", "rerun", "measured"},
    None: set(STATES) - {"passed", "measured", "inconclusive", "tolerated"},
}
# A repository of the Hub: a name, or owner and name; a commit of git; a task, as the benchmark's eval.yaml names it.
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_BENCHMARK = {
    "id": re.compile(rf"(?=.{{1,96}}\Z)(?!.*(?:--|\.\.))(?:{_PART}/)?{_PART}"),
    "revision": re.compile(r"[0-9a-f]{40}"),
    "task_id": re.compile(r"[!-<>-~]{1,96}"),
}
_MARKS = {True: "1", False: "0", None: "-"}
# A text of JSON may have halves of a surrogate pair, which UTF-8 has not.
_ANY = "surrogatepass"
# Characters of one text of outcomes: readers of JSON limit the length of a text.
_LINE = 10_000
# Levels of SARIF; states that are not here need no look.
_LEVELS = {"failed": "error", "error": "error", "unfinished": "error", "inconclusive": "error", "tolerated": "note"}


def statement(
    account: Account,
    settings: Mapping[str, Any],
    origin: Origin | None,
    *,
    subject: Sequence[tuple[str, str]],
    salt: bytes,
    lines: Mapping[str, int],
    benchmarks: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """Return the in-toto statement of a run; two runs that measured the same have the same, but for its time.

    Args:
        settings: of the run.
        origin: time, commit and versions, if known.
        subject: name and sha256 of each file of the model; may be empty.
        salt: key of the digests of data. They can be compared by whoever has it, and tell nobody else anything.
        lines: line of each test, from 1, where it is known.
        benchmarks: benchmark of the Hub that the claims of a test are a result of, by the test: `id` and `task_id`, and
            `revision` if it is known.
    """
    # By test: plugins shuffle the order of collection.
    claims = [_claim(row, salt, lines) for row in sorted(account.rows, key=lambda row: row.test)]
    # The field is absent without one, so that evidence that names no benchmark is of every version the same.
    for claim in claims:
        if benchmarks and claim["test"] in benchmarks:
            claim["benchmark"] = dict(benchmarks[claim["test"]])
    session = account.session
    predicate = {
        "time": "" if origin is None else origin.time,
        "commit": "" if origin is None else origin.commit,
        "changed": None if origin is None or not origin.commit else origin.dirty,
        "versions": f"robustest {VERSION}" if origin is None else origin.versions,
        "settings": {name: settings.get(name) for name in _SETTINGS},
        "exit": None if session is None else session.exit,
        "selection": "" if session is None else session.selection,
        "deselected": [] if session is None else sorted(session.deselected),
        "not_run": 0 if session is None else session.collected - session.ran,
        "lost": list(account.lost),
        "claims": claims,
    }
    subjects = [{"name": name, "digest": {"sha256": digest}} for name, digest in subject]
    return {
        "_type": _STATEMENT_TYPE,
        "subject": subjects + _models(claims),
        "predicateType": ROBUSTNESS,
        "predicate": predicate,
    }


def _models(claims: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each model of the run as a subject, by robustest's digest of its code and weights, which is of no file."""
    models = sorted({claim["model"] for claim in claims if claim.get("model")})
    return [{"name": f"model {number}", "digest": {"robustest": one}} for number, one in enumerate(models, 1)]


def _claim(row: Row, salt: bytes, lines: Mapping[str, int]) -> dict[str, Any]:
    about: dict[str, Any] = {"test": row.test, "line": lines.get(row.test), "state": row.state, "problem": row.problem}
    if row.result is None:
        about["problem"] = row.problem or ("" if row.ending is None else row.ending.reason)
        return about
    result, plain = row.result, row.result.to_dict()
    limits = {one["name"]: one["value"] for one in plain["limits"]}
    if limits.get(plain["threshold_name"]) != plain["threshold"]:
        plain["threshold_name"] = None  # the argument limits another number than the quantity, e.g. of half the samples
    return {
        **about,
        **{name: plain[name] for name in _OF_RESULT},
        # Of a search `interval` is of the true value, which the search bounds on one side; this is of the value found.
        "left_interval": list(result.numbers.left_interval),
        "sentence": measured(result),
        "suppressed": sorted(
            one["name"]
            for one in result.details.get("health") or ()
            if isinstance(one, Mapping) and one.get("suppressed")
        ),
        "outcomes": [
            "".join(_MARKS[outcome] for outcome in result.outcomes[start : start + _LINE])
            for start in range(0, len(result.outcomes), _LINE)
        ],
        "data": salted(result.evidence.data, salt),
        # Answers in words (`told`) may quote a sample; paths of pictures are of one machine.
        "counterexamples": [
            {name: one[name] for name in ("index", "label", "clean", "predicted", "size", "unit", "pixels")}
            for one in plain["counterexamples"]
        ],
    }


def salted(digest: str, salt: bytes) -> str:
    """Return a keyed digest of a digest of data; empty if it is unknown."""
    return hmac.new(salt, digest.encode(errors=_ANY), sha256).hexdigest() if digest else ""


def documents(content: Mapping[str, Any]) -> dict[str, bytes]:
    """Return every file of the evidence by name, made from the statement alone."""
    made = {
        STATEMENT: content,
        "test-result.json": test_result(content),
        "model.cdx.json": bom(content),
        "failed.sarif": sarif(content),
    }
    files = {name: f"{json.dumps(value, indent=1, ensure_ascii=True)}\n".encode() for name, value in made.items()}
    files["model-card.md"] = model_card(content).encode("ascii", "xmlcharrefreplace")
    if any("benchmark" in claim for claim in content["predicate"]["claims"]):
        files[SCORES] = scores(content).encode("ascii")
    return files


def contradictions(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield what of a statement cannot be true of one run: fields, states, counts, shares, verdicts and thresholds."""
    # What a reader does not know, it passes over: so a field or word that no run writes could say anything.
    predicate, claims = content["predicate"], content["predicate"]["claims"]
    for name in sorted(content.keys() ^ {"_type", "subject", "predicateType", "predicate"}):
        yield f"{name}: an unknown or missing field of the statement"
    for name in sorted(predicate.keys() ^ _OF_PREDICATE):
        yield f"{name}: an unknown or missing field of the predicate"
    for name in sorted(predicate["settings"].keys() ^ set(_SETTINGS)):
        yield f"{name}: an unknown or missing field of the settings"
    if (content["_type"], content["predicateType"]) != (_STATEMENT_TYPE, ROBUSTNESS):
        yield f"expected the types {_STATEMENT_TYPE} and {ROBUSTNESS}"
    # A further digest of a file could be another file's, and a reader may take any of them.
    files = [one for one in content["subject"] if "sha256" in one["digest"]]
    files = [{"name": one["name"], "digest": {"sha256": one["digest"]["sha256"]}} for one in files]
    if content["subject"] != files + _models(claims):
        yield "the subject's models are not those of the claims, or a file has more than its name and sha256"
    if len({one["name"] for one in content["subject"]}) < len(content["subject"]):
        yield "two subjects of one name"
    if not content["subject"]:
        yield "no subject: the evidence names no model"
    if predicate["time"] != "" or predicate["commit"] != "":
        try:
            Origin(time=predicate["time"], commit=predicate["commit"], versions=predicate["versions"])
        except TypeError as error:
            yield str(error)
    if predicate["exit"] == 0 and (predicate["lost"] or any(claim["state"] in RED for claim in claims)):
        yield "exit 0 of a run with a red test or a lost result"
    for claim in claims:
        yield from _contradictions(claim)
    yield from shared_tasks(claims)


_OF_PREDICATE = {
    *("time", "commit", "changed", "versions", "settings", "exit", "selection", "deselected", "not_run", "lost"),
    "claims",
}


def _contradictions(claim: Mapping[str, Any]) -> Iterator[str]:
    verdict = Verdict(claim["verdict"]) if "verdict" in claim else None
    fields = {*_OF_ROW}
    if verdict is not None:
        fields |= {*_OF_RESULT, "left_interval", "sentence", "suppressed", "outcomes", "data", "counterexamples"}
    if "benchmark" in claim:
        fields.add("benchmark")
        for problem in malformed(claim["benchmark"]):
            yield f"{claim['test']}: benchmark: {problem}"
    for field in sorted(claim.keys() ^ fields):
        yield f"{claim['test']}: {field}: an unknown or missing field of the claim"
    if claim["state"] not in _STATES_OF[verdict]:
        was = "was not measured" if verdict is None else f"is {verdict}"
        yield f"{claim['test']}: {claim['state']}, with a claim that {was}"
    if verdict is None:
        return
    name = f"{claim['test']}: {claim['statement']}"
    outcomes = "".join(claim["outcomes"])
    evaluations = len(outcomes) - outcomes.count("-")
    if outcomes.strip("10-") or (outcomes and (len(outcomes), evaluations) != (claim["n_total"], claim["n"])):
        yield f"{name}: n={claim['n']} of {claim['n_total']}, but {evaluations} of {len(outcomes)} outcomes"
    (low, high), (left, right) = claim["interval"], claim["left_interval"]
    if not low <= left <= right <= high or (not claim["bounds"] and (left, right) != (low, high)):
        yield f"{name}: interval {claim['interval']}, but {claim['left_interval']} of the value that was found"
    for problem in numbers_apart(claim):
        yield f"{name}: {problem}"
    threshold = claim["threshold"]
    for limit in claim["limits"]:
        if limit["name"] == claim["threshold_name"] and limit["value"] != threshold:
            yield f"{name}: {limit['name']} of {limit['value']} and of {threshold}"


def outcome(predicate: Mapping[str, Any]) -> str:
    """Return PASSED, WARNED or FAILED: passed only if all tests of the commit ran, about models that are known.

    Nor is it PASSED where a claim holds only as a health check was suppressed, or was compared with itself.
    """
    states = {claim["state"] for claim in predicate["claims"]}
    if predicate["lost"] or predicate["exit"] != 0 or states & RED or "passed" not in states:
        return "FAILED"
    partly = predicate["selection"] or predicate["deselected"] or predicate["not_run"] or predicate["changed"]
    # Of a model without a digest nobody can say whether it is the one that the subject names.
    partly = partly or not all(claim["model"] for claim in predicate["claims"] if "verdict" in claim)
    partly = partly or any(claim.get("suppressed") for claim in predicate["claims"])
    partly = partly or predicate["settings"]["update_baseline"]
    return "WARNED" if partly or states - {"passed", "measured"} else "PASSED"


def test_result(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the in-toto statement with the test-result predicate."""
    predicate = content["predicate"]
    worst: dict[str, int] = {}
    for claim in predicate["claims"]:
        rank = 2 if claim["state"] in RED else 0 if claim["state"] in ("passed", "measured") else 1
        worst[claim["test"]] = max(rank, worst.get(claim["test"], 0))
    settings = json.dumps(predicate["settings"], sort_keys=True)
    configuration: list[dict[str, Any]] = [
        {"name": "settings", "digest": {"sha256": sha256(settings.encode()).hexdigest()}}
    ]
    if predicate["commit"]:
        name = "changed from commit" if predicate["changed"] else "commit"
        configuration.append({"name": name, "digest": {"gitCommit": predicate["commit"]}})
    for one in predicate["versions"].split(", "):
        name, _, version = one.partition(" ")
        kind = "generic" if name == "Python" else "pypi"
        configuration.append({"uri": f"pkg:{kind}/{_quoted(name.lower())}@{_quoted(version)}"})
    return {
        **{name: content[name] for name in ("_type", "subject")},
        "predicateType": TEST_RESULT,
        "predicate": {
            "result": outcome(predicate),
            "configuration": configuration,
            **{
                part: sorted(test for test, rank in worst.items() if rank == number)
                for number, part in enumerate(("passedTests", "warnedTests", "failedTests"))
            },
        },
    }


def bom(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a CycloneDX 1.7 document whose component is the model, with its claims as performance metrics."""
    predicate = content["predicate"]
    files = [one for one in content["subject"] if "sha256" in one["digest"]]
    metrics: list[dict[str, Any]] = []
    required: list[dict[str, str]] = []
    for claim in predicate["claims"]:
        if "verdict" in claim:
            low, high = claim["left_interval"]  # the one of the sentence, which card and log have
            metric = {"type": claim["quantity"], "slice": claim["statement"]}
            # A metric has no place for it: by the metric's number, from 0.
            limits = claim["limits"] or [{"name": "", "comparison": claim["comparison"], "value": claim["threshold"]}]
            required += [
                {
                    "name": f"robustest:required:{len(metrics)}",
                    "value": f"{one['name']} {one['comparison']} {one['value']!r}",
                }
                for one in limits
                if one["value"] is not None
            ]
            if claim["bounds"]:
                required.append({"name": f"robustest:bounds:{len(metrics)}", "value": claim["bounds"]})
            if claim["estimate"] is not None:
                metric["value"] = repr(claim["estimate"])
            metrics.append({**metric, "confidenceInterval": {"lowerBound": repr(low), "upperBound": repr(high)}})
    caveats = sorted({one for claim in predicate["claims"] for one in (*claim.get("caveats", ()), *_suppressed(claim))})
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": files[0]["name"] if files else "model",
        "modelCard": {
            "quantitativeAnalysis": {"performanceMetrics": metrics},
            "considerations": {"technicalLimitations": [*caveats, LIMITS]},
            "properties": required,
        },
        "properties": [
            {"name": "robustest:result", "value": outcome(predicate)},
            *(
                {"name": "robustest:model", "value": one["digest"]["robustest"]}
                for one in content["subject"]
                if one not in files
            ),
        ],
    }
    if files:
        component["hashes"] = [{"alg": "SHA-256", "content": files[0]["digest"]["sha256"]}]
    about: dict[str, Any] = {
        "tools": {"components": [{"type": "application", "name": "robustest", "version": VERSION}]},
        "component": component,
    }
    if predicate["time"]:
        about["timestamp"] = predicate["time"]
    # Reproducible: the same statement has the same number.
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "serialNumber": f"urn:uuid:{number}",
        "version": 1,
        "metadata": about,
    }


def _suppressed(claim: Mapping[str, Any]) -> list[str]:
    return [f"the health check {name} spoke and was suppressed" for name in claim.get("suppressed", ())]


def sarif(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a SARIF 2.1.0 log with a result for each claim and test that is red, or was tolerated, at its line."""
    predicate = content["predicate"]
    shown = [claim for claim in predicate["claims"] if claim["state"] in _LEVELS]
    kinds = sorted({claim.get("kind", "test") for claim in shown})
    results = []
    for claim in shown:
        kind = claim.get("kind", "test")
        place: dict[str, Any] = {"artifactLocation": {"uri": _quoted(claim["test"].partition("::")[0], safe="/")}}
        if claim["line"] is not None:
            place["region"] = {"startLine": claim["line"]}
        text = claim.get("sentence") or claim["problem"] or claim["state"]
        mark = json.dumps([claim["test"], claim.get("claim", "")])
        results.append(
            {
                "ruleId": kind,
                "ruleIndex": kinds.index(kind),
                "level": _LEVELS[claim["state"]],
                "message": {"text": _message(f"{claim['state']}: {text} ({claim['test']})")},
                "locations": [{"physicalLocation": place}],
                "partialFingerprints": {"robustestClaim/v1": sha256(mark.encode()).hexdigest()},
            }
        )
    driver = {
        "name": "robustest",
        "version": VERSION,
        "informationUri": HOME,
        "rules": [{"id": kind, "shortDescription": {"text": _message(kind.replace("_", " "))}} for kind in kinds],
    }
    done = {"executionSuccessful": predicate["exit"] in (0, 1) and not predicate["lost"]}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "invocations": [done], "results": results}],
    }


def _quoted(text: str, *, safe: str = "") -> str:
    return quote(text, safe=safe, errors=_ANY)


def _message(text: str) -> str:
    """Return one line for a SARIF viewer, which reads [..](..) and {0}."""
    line = visible(" ".join(text.split())).replace("\\", "\\\\")
    return line.replace("[", "\\[").replace("]", "\\]").replace("{", "{{").replace("}", "}}")


LIMITS = (
    "An attack bounds accuracy from above: a stronger one can lower it. Claims hold for the samples, shifts and sizes "
    "that they name, and for no others."
)
"""The limitation that every model card states."""


def model_card(content: Mapping[str, Any]) -> str:
    """Return a section for the README.md of a model on the Hugging Face Hub, in Markdown with everything escaped."""
    predicate = content["predicate"]
    lines = [
        "## Robustness",
        "",
        f"{len(predicate['claims'])} claims, result {outcome(predicate)}; {escaped(predicate['versions'])}"
        + (f"; commit {escaped(predicate['commit'])}" if predicate["commit"] else "")
        + (", with changes" if predicate["changed"] else "")
        + (f"; {escaped(predicate['time'])}" if predicate["time"] else "")
        + ".",
        "",
        "| State | Claim | Measured |",
        "|---|---|---|",
    ]
    for claim in predicate["claims"]:
        words = claim.get("statement") or claim["test"]
        found = "; ".join([claim["sentence"], *_suppressed(claim)]) if "sentence" in claim else claim["problem"]
        lines.append(f"| {claim['state']} | {escaped(words)} | {escaped(found)} |")
    return "\n".join([*lines, "", html.escape(LIMITS), ""])


def malformed(benchmark: Mapping[str, str]) -> Iterator[str]:
    """Yield the fields of a benchmark that are missing or unknown, or that the Hub would refuse."""
    for name in sorted({"id", "task_id"} - benchmark.keys() | benchmark.keys() - _BENCHMARK.keys()):
        yield f"{name}: an unknown or missing field"
    for name in sorted(_BENCHMARK.keys() & benchmark.keys()):
        if not _BENCHMARK[name].fullmatch(benchmark[name]):
            yield f"{name}: {benchmark[name]!r} has not the form that the Hub expects"


def shared_tasks(claims: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the tasks of benchmarks that more than one claim names: a leaderboard shows one number for each."""
    named: dict[tuple[str, str], list[str]] = {}
    for claim in claims:
        if "benchmark" in claim and claim["state"] != "rerun":
            named.setdefault((claim["benchmark"]["id"], claim["benchmark"]["task_id"]), []).append(claim["test"])
    for (dataset, task), tests in named.items():
        if len(tests) > 1:
            yield f"{len(tests)} claims for the task {task} of {dataset}: {', '.join(tests)}"


def without_score(claim: Mapping[str, Any]) -> str:
    """Return the reason why a claim has no entry among the scores; empty if it has one.

    A failed claim has an entry: it is left out for nothing but a missing number or benchmark.
    """
    if "benchmark" not in claim:
        return "no dataset id and task id"
    if "verdict" not in claim:
        return "not measured"
    if claim["state"] == "rerun":
        return "its test ran again"
    # A measurement that claims nothing is inconclusive by form; a health check that spoke makes its number unfit.
    if claim["verdict"] == Verdict.INCONCLUSIVE and (claim["state"] != "measured" or claim["reasons"]):
        return "inconclusive"
    if claim["estimate"] is None or not math.isfinite(claim["estimate"]):
        return "no finite estimate"
    return ""


def scores(content: Mapping[str, Any]) -> str:
    """Return the scores of claims that name a benchmark, as a file of the Hub's `.eval_results` folder, in ASCII.

    The format has no field for an interval, a requirement or a verdict: these stand in an entry's notes. Claims without
    an entry, and the reason, stand in comments.
    """
    predicate = content["predicate"]
    lines, comments = [], []
    for claim in predicate["claims"]:
        if reason := without_score(claim):
            words = visible(f"{claim['test']}: {claim.get('statement', '')}")
            comments.append(f"# left out ({reason}): {words.encode('ascii', 'backslashreplace').decode()}")
            continue
        benchmark = claim["benchmark"]
        notes = "; ".join([f"{claim['statement']}: {claim['state']}", claim["sentence"], *_suppressed(claim)])
        lines += ["- dataset:", f"    id: {_scalar(benchmark['id'])}", f"    task_id: {_scalar(benchmark['task_id'])}"]
        if "revision" in benchmark:
            lines.append(f"    revision: {_scalar(benchmark['revision'])}")
        lines.append(f"  value: {_number(claim['estimate'])}")
        if predicate["time"]:
            lines.append(f"  date: {_scalar(predicate['time'])}")
        lines.append(f"  notes: {_scalar(notes)}")
    return "\n".join([*comments, *(lines or ["[]"]), ""])


def _scalar(text: str) -> str:
    """Return one line of text as a double-quoted scalar of YAML, which has no other meaning whatever it contains."""
    # No escapes of JSON: YAML reads the two halves of a surrogate pair as two characters.
    line = visible(text).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isascii() else f"\\U{ord(c):08x}" for c in line) + '"'


def _number(value: float) -> str:
    """Return a finite number as readers of YAML 1.1 and 1.2 take it: to the former `1e-05` is a text."""
    mantissa, exponent, power = repr(value).partition("e")
    return f"{mantissa}{'.0' if exponent and '.' not in mantissa else ''}{exponent}{power}"
