"""bench.instructions: when a call takes more than in the last release. Nothing is counted."""

from __future__ import annotations

import json

import pytest

from bench import instructions
from bench.instructions import KEPT, KINDS, compared, hindrance, line, main, more

BEFORE = {"select": 1000, "transaction": 3000}
SAME = {"select": 1030, "transaction": 3000}
SLOW = {"select": 1031, "transaction": 3000}


class Counts:
    """Gives one series of figures after the other, and fails where none is left."""

    def __init__(self, *series):
        self.left = list(series)

    def __call__(self):
        return self.left.pop(0)


def test_three_percent_are_the_bound():
    """Up to three percent are the same, beyond it the kind is named; a new kind has nothing before it."""
    assert more(SAME, BEFORE) == []
    assert more(SLOW, BEFORE) == ["select"]
    assert more({"select": 1000, "copy": 9}, BEFORE) == []


def test_what_is_known_of_the_release_is_enough_to_pass():
    """A release whose figures are kept is not built where nothing is more."""
    assert compared(BEFORE, Counts(SAME), Counts()) == (SAME, BEFORE)


def test_an_unknown_release_is_counted():
    """Without figures for this build the release is counted beside the present, and may fail it."""
    assert compared(None, Counts(SAME), Counts(BEFORE)) == (SAME, BEFORE)
    now, before = compared(None, Counts(SLOW, SLOW), Counts(BEFORE))
    assert more(now, before) == ["select"]


def test_noise_is_counted_again():
    """What is more only once does not fail, and of both series the lower figures count."""
    again = {"select": 1010, "transaction": 3050}
    assert compared(BEFORE, Counts(SLOW, again), Counts()) == ({"select": 1010, "transaction": 3000}, BEFORE)


def test_another_compiler_is_no_regression():
    """Kept figures alone never fail a change: the release is built here and has the last word."""
    now, before = compared(BEFORE, Counts(SLOW, SLOW), Counts(SLOW))
    assert more(now, before) == []
    now, before = compared(BEFORE, Counts(SLOW, SLOW), Counts(BEFORE))
    assert more(now, before) == ["select"]


def test_a_figure_is_told_with_its_change():
    """The line has the kind, the figure and the change."""
    assert line("select", 1100, 1000).split() == ["select", "1,100", "+10.0%", "of", "1,000"]
    assert "not counted before" in line("select", 1100, None)


def test_ci_does_not_go_without_valgrind(monkeypatch):
    """Where nothing can be counted CI fails, and elsewhere it is said."""
    monkeypatch.setattr(instructions.shutil, "which", lambda _name: None)
    monkeypatch.setenv("CI", "true")
    assert main([]) == 1
    monkeypatch.delenv("CI")
    assert main([]) == 0


def test_the_source_is_not_counted(monkeypatch):
    """What users have is compiled: to count the source would compare two different things."""
    monkeypatch.setattr(instructions.shutil, "which", lambda name: name)
    monkeypatch.setattr("pgdual.core.pipeline.__file__", "pipeline.py")
    reason = hindrance()
    assert reason is not None
    assert reason[1] == 1


def test_kept_figures_are_of_one_release():
    """The file names the commit that stands for the first release, and has every kind for each build."""
    kept = json.loads(KEPT.read_text())
    assert len(kept["base"]) == 40
    for builds in kept["counted"].values():
        for figures in builds.values():
            assert sorted(figures) == sorted(KINDS)


@pytest.mark.parametrize(("said", "name"), [("v1.2.0\n", "v1.2.0"), ("", "abc")])
def test_the_newest_tag_is_the_release(monkeypatch, said, name):
    """Git's answer is taken; without a tag it is the commit that the file names."""

    class Done:
        stdout = said

    monkeypatch.setattr(instructions.subprocess, "run", lambda *_args, **_kwargs: Done)
    assert instructions.release("abc") == name
