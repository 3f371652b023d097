"""A run of many claims in the terminal of pytest."""

from __future__ import annotations

MANY = """
    @pytest.mark.parametrize("eps", [0.061 + 0.0005 * k for k in range(22)])
    @pytest.mark.parametrize("at_least", [0.5, 1.0])
    def test_it(robust_model, robust_data, eps, at_least):
        claim(robust_model, robust_data, eps, at_least=at_least)
"""


def test_failures_that_the_section_does_not_name_are_counted_alone(write, run, section):
    write(test_a=MANY)
    result = run("--robust", "-o", "robust_recheck=0")
    counts = result.parseoutcomes()
    assert counts["failed"] > 3
    assert sum(counts.values()) == 44
    family, *rest = section(result)
    assert family == f"test_a.py::test_it  44 claims: {counts['failed']} FAILED, {counts['passed']} passed"
    named = {line.split("::")[1].split()[0] for line in rest if line.startswith(("FAILED  ", "test_a.py::"))}
    assert len(named) == 3
    assert f"    {counts['failed'] - 3} more did not pass" in rest
    titles = [line for line in result.outlines if line.startswith("___")]
    assert {title.strip("_ ") for title in titles} == named
    everything = run("--robust", "-v")
    assert len([line for line in everything.outlines if line.startswith("___")]) == counts["failed"]
    listed = section(everything)
    assert sum("test_a.py::test_it[" in line.partition("replay:")[0] for line in listed) == 44
    assert not [line for line in listed if "claims:" in line or "more did not pass" in line or "by family" in line]
    quieted = run("--robust", "-v", "-o", "addopts=-q")
    assert section(quieted)[0] == family, "the project asks for less"
