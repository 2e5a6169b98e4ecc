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
        for suite, seen in result.get("looking", {}).items():
            low, high = seen["ci95"]
            lines.append(
                f"{suite:<10} own picture {seen['own']:.3f}, another {seen['other']:.3f} nats per token, "
                f"gain {seen['gain']:.3f} [{low:.3f}, {high:.3f}]  n={seen['n']}"
            )
        return "\n".join(
            [*lines, f"mean {result['mean']:.3f}, {len(result['failed'])} failed, {result['seconds']:.0f} s"]
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
