"""The curves of a sweep: utility against one figure of leakage by one judge, and what they say in words. Means over seeds in, panels out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from facemae_jax.report import figures, plane
from facemae_jax.report.leakages import LEAKAGES, OVERALL, STRONGEST, Leakage
from facemae_jax.report.plane import Guide, Point, Series
from facemae_jax.report.results import OURS, percent, strength
from facemae_jax.report.sweep_cells import Group, judges, told

CONTROL = "original"
MOST = 6  # settings that are told one by one


class Panel(NamedTuple):
    """One curve with its words; figure and judge are what it is chosen by."""

    leakage: str
    judge: str
    svg: Markup
    caption: str
    sentences: list[str]
    notes: list[str]


def panels(groups: Sequence[Group], names: Sequence[str], along: str | None) -> list[Panel]:
    """One per figure of leakage and judge of which there is a point, the worst over all judges first.

    Args:
        groups: of ``sweep_table.summary``, those over all judges among them.
        names: swept fields that make a setting.
        along: the one along which points are joined; None = none.
    """
    found = []
    for leakage in LEAKAGES:
        for judge in (OVERALL, *judges(groups)):
            mine = [group for group in groups if group["judge"] == judge]
            if shown := series(mine, along, leakage):
                found.append(_panel(mine, shown, names, leakage, judge))
    return found


def series(groups: Sequence[Group], along: str | None, leakage: str) -> list[Series]:
    """What one judge's curve shows; groups without both figures are left out.

    The reconstruction is joined along the field ``along``, one line per values of the other fields. Strengths of one distortion (``blur@2``,
    ``blur@4``) are a line of their own, one per setting where the grid touches them; where one is called by its kind alone (``mask``), its
    strength is not known here and they are joined in order of leakage.
    """
    drawn = [group for group in groups if group["utility"] and group[leakage]]
    strengths: dict[str, set[str]] = {}
    for group in drawn:
        strengths.setdefault(strength(group["variant"])[0], set()).add(group["variant"])
    lines: dict[str, list[tuple[float, Point]]] = {}
    joined: dict[str, bool] = {}
    for place, group in enumerate(drawn):
        setting, (kind, strong) = group["setting"] or {}, strength(group["variant"])
        family = len(strengths[kind]) > 1
        mark = "" if strong is None else f"@{strong:g}"
        line = along if along in setting and not family else None
        others = [f"{field}={value}" for field, value in setting.items() if field != line]
        if line:
            name = " ".join([group["variant"], *others])
            label, order = str(setting[line]), float(setting[line])
        elif family:
            name = " ".join([kind, *others])
            named = all("@" in variant for variant in strengths[kind])
            label, order = mark or kind, strong if named and strong is not None else group[leakage]["mean"]
        else:
            name = group["variant"]
            label, order = ", ".join(str(value) for value in setting.values()) or group["variant"], float(place)
        if name == CONTROL:
            name = f"{CONTROL} (control)"
        joined[name] = bool(line) or family
        lines.setdefault(name, []).append((order, _point(group, label, leakage)))
    return [
        Series(name, [point for _, point in sorted(found, key=lambda entry: entry[0])], joined[name])
        for name, found in lines.items()
    ]


def equal_leakage(groups: Sequence[Group], leakage: str) -> list[str]:
    """One judge's gap at equal leakage, setting by setting, or only the ends where there are many."""
    ours = [g for g in groups if g["variant"] == OURS and leakage in g["gaps"] and g["utility"] and g[leakage]]
    inside = [group for group in ours if group["gaps"][leakage]["gap"]]
    said = []
    if len(ours) > MOST and inside:
        inside.sort(key=lambda group: -group["gaps"][leakage]["gap"]["mean"])
        gaps = [group["gaps"][leakage]["gap"] for group in inside]
        above = [gap for gap in gaps if gap["mean"] > 0]
        clear = sum(gap["std"] is not None and gap["mean"] > gap["std"] for gap in above)
        said.append(
            f"{len(above)} of {len(ours)} settings are more useful than the best distortion at their leakage ({clear} of them by more than the "
            f"deviation over seeds), {len(inside) - len(above)} are not, and {len(ours) - len(inside)} leak more than every distortion. "
            "The best and the worst of them:"
        )
        ours = [inside[0], inside[-1]] if len(inside) > 1 else inside
    for group in ours:
        leak, useful, equal = group[leakage], group["utility"], group["gaps"][leakage]
        at = f"At the leakage of {named(group)} ({_leak(leak, LEAKAGES[leakage])})"
        if not equal["gap"]:
            said.append(f"{at} there is no distortion to compare with: all leak less.")
            continue
        mean, std = equal["gap"]["mean"], equal["gap"]["std"]
        by = percent(abs(mean), std)
        which = "the best distortion"
        if below := (equal.get("below") or {"mean": 0.0})["mean"]:  # sweeps of earlier versions do not have it
            which = "less than with any distortion, the least leaking distortion"
            if below < 1:
                which = "in some seeds less than with any distortion, the best or else the least leaking distortion"
        part = f", in the {equal['gap']['n']} of {group['n']} seeds that lie in their range" if equal["gap"]["n"] < group["n"] else ""  # fmt: skip
        said.append(
            f"{at}, {which} reaches {percent(equal['best']['mean'], equal['best']['std'])} % utility and the reconstruction "
            f"{percent(useful['mean'], useful['std'])} %: {by} points {'more' if mean >= 0 else 'less'}{part}."
        )
    if inside and any(group["gaps"][leakage]["gap"]["std"] is None for group in inside):
        said.append("From one seed nothing is known about how much such a difference varies.")
    return said


def unequal_attackers(groups: Sequence[Group]) -> list[str]:
    """A warning where the worst of one variant was taken over fewer attackers than that of another."""
    tried: dict[str, int] = {}
    for group in groups:
        if group["attackers"] and group["variant"] != CONTROL:
            tried[group["variant"]] = max(tried.get(group["variant"], 0), round(group["attackers"]["mean"]))
    most = max(tried.values(), default=0)
    fewer = [f"{variant} by {count}" for variant, count in tried.items() if count < most]
    if not fewer:
        return []
    full = [variant for variant, count in tried.items() if count == most]
    return [
        f"Attacked unequally: {', '.join(full)} by {most} attackers, {', '.join(fewer)}. Fewer attackers find less, so these may leak more than is "
        "shown; name every variant in audit.trained_on to compare like with like."
    ]


def named(group: Group) -> str:
    """A setting in words."""
    return ", ".join(f"{field} = {value}" for field, value in (group["setting"] or {}).items()) or "the only setting"


def _panel(groups: Sequence[Group], shown: Sequence[Series], names: Sequence[str], leakage: str, judge: str) -> Panel:
    about = LEAKAGES[leakage]
    blind = [group[about.chance]["mean"] for group in groups if about.chance and group[about.chance]]
    guides = [Guide("blind guess", leakage=100 * max(blind))] if blind else []
    svg = plane.trade_off_curve(shown, x=about.axis, y="utility (%)", guides=guides)
    who = "the worst over all judges counts" if judge == OVERALL else f"judge {judge}"
    caption = (
        f"Utility (up: accuracy of a recognizer trained on the images) against leakage (right: {about.words}; {who}). The upper left corner is best. "
        "At equal leakage, the best distortion stands on the straight line between two of them where none was measured. "
        f"Bars: standard deviation over seeds. Lines join strengths of one distortion, and settings in the order of what was swept "
        f"({', '.join(names) or 'only seeds'})."
    )
    sentences = equal_leakage(groups, leakage)
    title = f"Utility and leakage: {about.words}, {judge}"
    described = figures.described(svg, title, " ".join([caption, *sentences]))
    notes = unequal_attackers(groups) if leakage == STRONGEST and judge == OVERALL else []
    return Panel(leakage, judge, Markup(described), caption, sentences, notes)


def _point(group: Group, label: str, leakage: str) -> Point:
    leak, useful = group[leakage], group["utility"]
    times = 100 if LEAKAGES[leakage].share else 1
    return Point(
        label, times * leak["mean"], 100 * useful["mean"], times * (leak["std"] or 0), 100 * (useful["std"] or 0)
    )


def _leak(figure: Mapping[str, Any], about: Leakage) -> str:
    return f"{told(figure)} % found" if about.share else f"D_sys {told(figure, share=False)}"
