"""What a release needs is in order at any time: versions, lists, builds, changelog, citation, locked versions."""

from __future__ import annotations

import re
import subprocess
from datetime import date
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from tools import agreement
from tools.builds import build_sdist, build_wheel, sdist_problems, wheel_problems
from tools.distributions import ROOT, Distribution, distributions, outside_requirements, required_name

PROJECTS = distributions()
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_versions_and_pins_of_all_distributions_changelog_and_citation_agree() -> None:
    assert agreement.versions() == []


def test_requirements_extras_paths_documentation_and_licences_name_every_distribution() -> None:
    assert agreement.lists() == []


def test_whatever_a_bundled_plugin_registers_is_named_when_it_is_missing() -> None:
    assert agreement.registered_names() == []


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_both_builds_hold_the_package_its_licence_and_its_types_and_nothing_else(
    project: Distribution, tmp_path: Path
) -> None:
    wheel = build_wheel(project.folder, tmp_path)
    assert wheel_problems(project, wheel) == []
    assert sdist_problems(project, build_sdist(project.folder, tmp_path), wheel) == []


def test_a_build_with_tests_and_without_a_licence_is_not_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "pneumo-probe"
    for name in ("pneumo_probe/__init__.py", "tests/test_probe.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    (folder / "README.md").write_text("# pneumo-probe\n")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n\n[project]\n'
        'name = "pneumo-probe"\nversion = "0.1"\nreadme = "README.md"\n\n'
        '[tool.hatch.build.targets.wheel]\npackages = ["pneumo_probe", "tests"]\n'
    )
    content = {
        "project": {"name": "pneumo-probe", "version": "0.1"},
        "tool": {"hatch": {"build": {"targets": {"wheel": {"packages": ["pneumo_probe"]}}}}},
    }
    (tmp_path / "built").mkdir()
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    problems = wheel_problems(Distribution(folder, content), build_wheel(folder, tmp_path / "built"))
    told = " ".join(problems)
    assert "holds tests/test_probe.py" in told
    assert "lacks pneumo_probe-0.1.dist-info/licenses/LICENSE" in told
    assert "has no pneumo_probe/py.typed" in told


# --- changelog and citation ------------------------------------------------------------------------------------


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert titles[0] == "[Unreleased]"
    released = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", title) for title in titles[1:]]
    assert all(released), titles
    versions = [Version(found[1]) for found in released if found]
    days = [date.fromisoformat(found[2]) for found in released if found]
    assert versions == sorted(versions, reverse=True)
    assert days == sorted(days, reverse=True)
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_citation_has_what_version_1_2_0_of_its_format_requires() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0"
    assert cited.keys() >= {"authors", "message", "title"}
    assert cited["license"] == PROJECTS[0].content["project"]["license"]
    for reference in cited["references"]:
        assert reference.keys() >= {"authors", "title", "type"}, reference
    assert f"- {cited['date-released']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


# --- locked versions -------------------------------------------------------------------------------------------


def locked() -> dict[str, set[str]]:
    """The versions of each name: several, if they differ by Python version or platform."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", LOCK, re.MULTILINE):
        found.setdefault(required_name(name), set()).add(version)
    return found


def test_the_lock_satisfies_every_requirement_of_every_distribution() -> None:
    versions = locked()
    for text in sorted(set(outside_requirements())):
        requirement = Requirement(text)
        name = required_name(text)
        assert name in versions, f"requirements.lock lacks {text}: make lock"
        for version in versions[name]:
            assert requirement.specifier.contains(version), f"{text}, locked {version}: make lock"


def test_every_locked_version_has_a_hash_and_no_place_of_its_own() -> None:
    entries = re.split(r"^(?=[\w.-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) > 50
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert not re.search(r"https?:|--index-url|--find-links|file:", LOCK)
    assert not {project.name for project in PROJECTS} & locked().keys()
