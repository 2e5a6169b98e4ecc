"""Results as a few lines for people; --json gives all of them."""

from __future__ import annotations

import json
from typing import Any


def as_text(command: str, result: dict[str, Any]) -> str:
    """A short reading of a result for people; --json gives all of it."""
    if command == "ask":
        timing = result["timing"]
        where = f"{result['compute']} on {result['device']}, experts {result['experts']}"
        note = (
            f", {result['ablation']['modules_touched']} modules ablated" if result["ablation"]["spec"] else ""
        )
        speed = f"first token {timing['prefill_s']:.2f} s, {timing['tokens_per_s']:.1f} tokens/s"
        return f"{result['answer']}\n  [{where}{note}; {speed}]"
    if command == "sweep":
        rows = sorted(result["experts"], key=lambda effect: effect["delta_logprob"])
        lines = [
            f"  {e['group']}:{e['expert']} {e['where']:<16} {e['delta_logprob']:+8.3f} nats"
            f"  weight {e['weight']:.3f}  contribution {e['contribution']:.3f}"
            f"{'  → ' + e['answer'] if e['answer_changed'] else ''}"
            for e in rows
        ]
        return "\n".join([result["baseline"]["answer"], *lines, f"  [{result['seconds']:.1f} s]"])
    if command == "evaluate":
        lines = [
            f"{task:<10} {t['metric']:<18} {t['value']:.3f}"
            f"  [{t['ci95'][0]:.3f}, {t['ci95'][1]:.3f}]  n={t['n']}" + _against(t.get("against"))
            for task, t in result["tasks"].items()
        ]
        for task, t in result["tasks"].items():
            lines += [_baseline(task, name, found) for name, found in t.get("baselines", {}).items()]
        for suite, seen in result.get("looking", {}).items():
            low, high = seen["ci95"]
            lines.append(
                f"{suite:<10} own picture {seen['own']:.3f}, another {seen['other']:.3f} nats per token, "
                f"gain {seen['gain']:.3f} [{low:.3f}, {high:.3f}]  n={seen['n']}"
            )
        if "health" in result:
            lines += _health(result["health"])
        return "\n".join(
            [*lines, f"mean {result['mean']:.3f}, {len(result['failed'])} failed, {result['seconds']:.0f} s"]
        )
    if command == "table" and "markdown" in result:
        return result["markdown"]
    if command == "study":
        from smola_demo.documents import study_as_markdown

        return study_as_markdown(result)
    if command == "cells":
        return "\n".join(
            f"{base}  {name:<7} found {f['found']:.2f}, counted {f['counted']:.2f}, exact {f['exact']:.2f}"
            for base, found in result["bases"].items()
            for name, f in found.items()
        )
    if command == "fit":
        return result.get("table") or _parts(result)
    return json.dumps(result, indent=2, ensure_ascii=False)


def _parts(result: dict[str, Any]) -> str:
    lines = [f"  {name:<12} {size / 1e6:>10,.0f} MB" for name, size in result["bytes"].items()]
    return "\n".join([result["sentence"], *lines])


def _against(other: dict[str, Any] | None) -> str:
    if other is None:
        return ""
    low, high = other["ci95"]
    what = "no experts" if other["ablation"] == "none" else f"without {other['ablation']}"
    return f"  {what} {other['value']:.3f}, gain {other['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"


def _baseline(task: str, name: str, found: dict[str, Any]) -> str:
    (low, high), gain = found["ci95"], found["gain"]
    beyond = f"gain {gain['value']:+.3f} [{gain['ci95'][0]:+.3f}, {gain['ci95'][1]:+.3f}]"
    what = name.replace("_", " ")
    return f"{task:<10} {what:<18} {found['value']:.3f}  [{low:.3f}, {high:.3f}]  {beyond}"


def _health(found: dict[str, Any]) -> list[str]:
    lines = []
    for group, told in found["groups"].items():
        in_use, per_token = (sum(told[key]) / len(told[key]) for key in ("in_use", "per_token"))
        pairs = zip(told["information"], told["by_chance"], strict=True)
        above = sum(own > chance for own, chance in pairs)
        lines.append(
            f"{group:<10} {in_use:.2f} of {found['experts']} experts in use, {per_token:.2f} per token; "
            f"tasks tell {told['information_mean']:.4f} nats, of shuffled ones 95 % less than "
            f"{told['by_chance_mean']:.4f} ({above} of {len(found['layers'])} layers above)"
        )
        for key, what in (("collapsed", "on one expert"), ("even", "even within 1 %")):
            if told[key]:
                lines.append(f"{group:<10} {what}: layers {', '.join(map(str, told[key]))}")
    return lines
